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

"""The memory, a robot on patrol that fills it, and the query node that asks it.

ros2 launch edge_memory_ros apartment.launch.py objects_file:=.../examples/apartment/objects.npz
ros2 topic pub --once /edge_query/words std_msgs/msg/String "{data: 'a fruit that is red'}"
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Three nodes."""
    share = FindPackageShare("edge_memory_ros")
    params = PathJoinSubstitution([share, "config", "apartment.yaml"])
    shared = [
        params,
        {
            "objects_file": LaunchConfiguration("objects_file"),
            "use_sim_time": LaunchConfiguration("use_sim_time"),
        },
    ]
    memory = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "memory.launch.py"])),
        launch_arguments={
            "params_file": params,
            "use_sim_time": LaunchConfiguration("use_sim_time"),
        }.items(),
    )
    source = Node(
        package="edge_memory_ros",
        executable="source_node",
        name="embedding_source",
        output="screen",
        parameters=shared,
    )
    query = Node(
        package="edge_memory_ros",
        executable="query_node",
        name="edge_query",
        output="screen",
        parameters=shared,
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "objects_file", description="Path of examples/apartment/objects.npz."
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="Whether /clock is the time."
            ),
            memory,
            source,
            query,
        ]
    )
