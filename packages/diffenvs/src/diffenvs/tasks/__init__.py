"""Tasks: what a robot observes, what it is rewarded for, when an episode ends and how one begins. One file each."""
