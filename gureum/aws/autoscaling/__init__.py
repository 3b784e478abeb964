"""EC2 Auto Scaling: groups that keep their count of instances alive and change it by policies and schedules."""
