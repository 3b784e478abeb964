terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}
variable "port" { type = number }

variable "access_key" { type = string }

variable "image" { type = string }

variable "changed" {
  type    = bool
  default = false
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {
    autoscaling = "http://127.0.0.1:${var.port}"
    ec2         = "http://127.0.0.1:${var.port}"
    elbv2       = "http://127.0.0.1:${var.port}"
    sts         = "http://127.0.0.1:${var.port}"
  }
}
resource "aws_launch_template" "web" {
  name          = "web"
  image_id      = var.image
  instance_type = "t3.nano"
}
resource "aws_lb_target_group" "web" {
  name     = "web"
  port     = 80
  protocol = "HTTP"
  vpc_id   = data.aws_vpc.default.id
}
data "aws_vpc" "default" { default = true }
data "aws_subnets" "all" {}
resource "aws_autoscaling_group" "web" {
  name                      = "web"
  min_size                  = 1
  max_size                  = 4
  desired_capacity          = (var.changed ? 3 : 2)
  vpc_zone_identifier       = data.aws_subnets.all.ids
  target_group_arns         = [aws_lb_target_group.web.arn]
  health_check_type         = "EC2"
  health_check_grace_period = 30
  termination_policies      = ["OldestInstance"]
  enabled_metrics           = ["GroupInServiceInstances"]
  default_instance_warmup   = 30
  launch_template {
    id      = aws_launch_template.web.id
    version = "$Latest"
  }
  instance_refresh {
    strategy = "Rolling"
    preferences { min_healthy_percentage = 50 }
  }
  tag {
    key                 = "project"
    value               = (var.changed ? "two" : "one")
    propagate_at_launch = true
  }
}
resource "aws_autoscaling_lifecycle_hook" "down" {
  name                   = "down"
  autoscaling_group_name = aws_autoscaling_group.web.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = 30
  default_result         = "CONTINUE"
}
resource "aws_autoscaling_policy" "simple" {
  name                   = "simple"
  autoscaling_group_name = aws_autoscaling_group.web.name
  adjustment_type        = "ChangeInCapacity"
  scaling_adjustment     = (var.changed ? 2 : 1)
  cooldown               = 60
}
resource "aws_autoscaling_policy" "steps" {
  name                   = "steps"
  autoscaling_group_name = aws_autoscaling_group.web.name
  policy_type            = "StepScaling"
  adjustment_type        = "ChangeInCapacity"
  step_adjustment {
    scaling_adjustment          = 1
    metric_interval_lower_bound = 0
    metric_interval_upper_bound = 10
  }
  step_adjustment {
    scaling_adjustment          = 2
    metric_interval_lower_bound = 10
  }
}
resource "aws_autoscaling_policy" "target" {
  name                   = "target"
  autoscaling_group_name = aws_autoscaling_group.web.name
  policy_type            = "TargetTrackingScaling"
  target_tracking_configuration {
    predefined_metric_specification { predefined_metric_type = "ASGAverageCPUUtilization" }
    target_value = (var.changed ? 60 : 50)
  }
}
resource "aws_autoscaling_schedule" "night" {
  scheduled_action_name  = "night"
  autoscaling_group_name = aws_autoscaling_group.web.name
  min_size               = 1
  max_size               = 4
  desired_capacity       = 1
  recurrence             = "0 3 29 2 *"
  time_zone              = "Europe/Vienna"
}
