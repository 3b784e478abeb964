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
    cloudwatch  = "http://127.0.0.1:${var.port}"
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
  max_instance_lifetime     = (var.changed ? 172800 : 86400)
  instance_maintenance_policy {
    min_healthy_percentage = 100
    max_healthy_percentage = (var.changed ? 150 : 120)
  }
  launch_template {
    id      = aws_launch_template.web.id
    version = "$Latest"
  }
  warm_pool {
    pool_state                  = "Stopped"
    min_size                    = 1
    max_group_prepared_capacity = (var.changed ? 4 : 3)
    instance_reuse_policy { reuse_on_scale_in = true }
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
resource "aws_autoscaling_group" "mixed" {
  name_prefix         = "mixed-"
  min_size            = 0
  max_size            = 6
  desired_capacity    = (var.changed ? 4 : 3)
  capacity_rebalance  = true
  vpc_zone_identifier = data.aws_subnets.all.ids
  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 1
      on_demand_percentage_above_base_capacity = (var.changed ? 20 : 10)
      spot_allocation_strategy                 = (var.changed ? "lowest-price" : "capacity-optimized")
      spot_max_price                           = (var.changed ? "" : "0.9")
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.web.id
        version            = aws_launch_template.web.latest_version
      }
      override {
        instance_type     = "t3.nano"
        weighted_capacity = "2"
      }
      override {
        instance_type     = (var.changed ? "t3.small" : "t3.micro")
        weighted_capacity = "1"
      }
    }
  }
}
resource "aws_autoscaling_group" "fitting" {
  name_prefix         = "fitting-"
  min_size            = 0
  max_size            = 2
  desired_capacity    = 1
  vpc_zone_identifier = data.aws_subnets.all.ids
  warm_pool {
    min_size                    = 1
    max_group_prepared_capacity = 2
  }
  instance_refresh {
    strategy = "Rolling"
    preferences {
      auto_rollback   = true
      skip_matching   = true
      instance_warmup = 0
    }
  }
  mixed_instances_policy {
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.web.id
        version            = aws_launch_template.web.latest_version
      }
      override {
        instance_requirements {
          memory_mib { min = (var.changed ? 1024 : 512) }
          vcpu_count { min = 2 }
          burstable_performance = "required"
          instance_generations  = ["current"]
        }
      }
    }
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
resource "aws_autoscaling_lifecycle_hook" "told" {
  name                    = "told"
  autoscaling_group_name  = aws_autoscaling_group.web.name
  lifecycle_transition    = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout       = 30
  default_result          = "CONTINUE"
  notification_metadata   = (var.changed ? "two" : "one")
  notification_target_arn = "arn:aws:sns:us-east-1:555500002222:told"
  role_arn                = "arn:aws:iam::555500002222:role/told"
}
resource "aws_autoscaling_notification" "all" {
  group_names   = [aws_autoscaling_group.web.name]
  notifications = (var.changed ? ["autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"] : ["autoscaling:EC2_INSTANCE_LAUNCH"])
  topic_arn     = "arn:aws:sns:us-east-1:555500002222:told"
}
resource "aws_lb_target_group" "second" {
  name     = "second"
  port     = 81
  protocol = "HTTP"
  vpc_id   = data.aws_vpc.default.id
}
resource "aws_autoscaling_group" "attached" {
  name                 = "attached"
  min_size             = 0
  max_size             = 1
  availability_zones   = ["us-east-1a"]
  launch_configuration = aws_launch_configuration.old.name
  lifecycle { ignore_changes = [target_group_arns, tag] }
}
resource "aws_launch_configuration" "old" {
  name          = "old"
  image_id      = var.image
  instance_type = "t3.nano"
}
resource "aws_autoscaling_attachment" "second" {
  autoscaling_group_name = aws_autoscaling_group.attached.name
  lb_target_group_arn    = aws_lb_target_group.second.arn
}
resource "aws_cloudwatch_metric_alarm" "busy" {
  alarm_name          = "busy"
  alarm_description   = (var.changed ? "two" : "one")
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = (var.changed ? 80 : 70)
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.web.name }
  alarm_actions       = [aws_autoscaling_policy.steps.arn]
  ok_actions          = ["arn:aws:sns:us-east-1:555500002222:told"]
  tags                = { a = "b" }
}
resource "aws_cloudwatch_metric_alarm" "failing" {
  alarm_name          = "failing"
  evaluation_periods  = 1
  threshold           = 5
  comparison_operator = "GreaterThanOrEqualToThreshold"
  metric_query {
    id          = "share"
    expression  = "100 * errors / requests"
    label       = "share"
    return_data = true
  }
  dynamic "metric_query" {
    for_each = { errors = "HTTPCode_Target_5XX_Count", requests = "RequestCount" }
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        period      = 60
        stat        = "Sum"
        dimensions  = { LoadBalancer = "app/web/0123456789abcdef" }
      }
    }
  }
}
resource "aws_cloudwatch_composite_alarm" "both" {
  alarm_name        = "both"
  alarm_description = (var.changed ? "two" : "one")
  alarm_rule        = "AT_LEAST(${var.changed ? "50%" : "2"}, ALARM, (${aws_cloudwatch_metric_alarm.busy.arn}, ${aws_cloudwatch_metric_alarm.failing.arn}))"
  alarm_actions     = ["arn:aws:sns:us-east-1:555500002222:told"]
  actions_suppressor {
    alarm            = aws_cloudwatch_metric_alarm.failing.alarm_name
    extension_period = (var.changed ? 20 : 10)
    wait_period      = 20
  }
}

resource "aws_cloudwatch_dashboard" "load" {
  dashboard_name = "load"
  dashboard_body = jsonencode({
    widgets = [{
      type = "metric", x = 0, y = 0, width = 12, height = 6
      properties = {
        metrics = [["AWS/EC2", "CPUUtilization", "AutoScalingGroupName", aws_autoscaling_group.web.name]]
        period  = (var.changed ? 60 : 300), stat = "Average", region = "us-east-1", title = "load"
      }
    }]
  })
}
resource "aws_autoscaling_group_tag" "more" {
  autoscaling_group_name = aws_autoscaling_group.attached.name
  tag {
    key                 = "more"
    value               = (var.changed ? "two" : "one")
    propagate_at_launch = false
  }
}
