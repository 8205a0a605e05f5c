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

"""The memory node, configured and activated. It is a lifecycle node: where it cannot be configured
it stays up, unconfigured, and says why in its log.

    ros2 launch edge_memory_ros memory.launch.py params_file:=/path/to/memory.yaml
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    """One node, and the two transitions that make it serve."""
    memory = LifecycleNode(
        package="edge_memory_ros",
        executable="memory_node",
        name="edge_memory",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        # Seconds before it is killed: what waits is stored first, within `close_timeout`.
        sigterm_timeout="30",
        parameters=[
            LaunchConfiguration("params_file"),
            {"use_sim_time": LaunchConfiguration("use_sim_time")},
        ],
    )

    def change(transition: int) -> EmitEvent:
        wanted = ChangeState(
            lifecycle_node_matcher=matches_action(memory), transition_id=transition
        )
        return EmitEvent(event=wanted)

    configure = OnProcessStart(
        target_action=memory, on_start=[change(Transition.TRANSITION_CONFIGURE)]
    )
    activate = OnStateTransition(
        target_lifecycle_node=memory,
        start_state="configuring",
        goal_state="inactive",
        entities=[change(Transition.TRANSITION_ACTIVATE)],
    )
    defaults = PathJoinSubstitution([FindPackageShare("edge_memory_ros"), "config", "memory.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file", default_value=defaults, description="Parameters of the memory."
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="Whether /clock is the time."
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node."
            ),
            RegisterEventHandler(configure),
            RegisterEventHandler(activate),
            memory,
        ]
    )
