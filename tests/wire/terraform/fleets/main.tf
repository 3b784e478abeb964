# Spot Fleet requests in both forms, a snapshot in the archive, and an interface that another account may attach.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
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
  region                  = "us-east-1"
  access_key              = var.access_key
  secret_key              = "test"
  skip_metadata_api_check = true
  skip_region_validation  = true
  endpoints {
    ec2 = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
  }
}

data "aws_subnets" "default" {
  filter {
    name   = "default-for-az"
    values = ["true"]
  }
}

resource "aws_spot_fleet_request" "specified" {
  iam_fleet_role       = "arn:aws:iam::${var.access_key}:role/fleet"
  target_capacity      = var.changed ? 1 : 2
  spot_price           = "0.5"
  allocation_strategy  = "diversified"
  wait_for_fulfillment = true

  terminate_instances_with_expiration = true
  tags                                = { part = "specified" }

  dynamic "launch_specification" {
    for_each = ["t3.nano", "t3.micro"]
    content {
      ami           = var.image
      instance_type = launch_specification.value
      subnet_id     = data.aws_subnets.default.ids[0]
      user_data     = "#!/bin/sh"
      tags          = { Name = "member" }
    }
  }
}

resource "aws_launch_template" "one" {
  name          = "fleets"
  image_id      = var.image
  instance_type = "t3.nano"
}

resource "aws_spot_fleet_request" "templated" {
  iam_fleet_role                = "arn:aws:iam::${var.access_key}:role/fleet"
  target_capacity               = 2
  on_demand_target_capacity     = 1
  wait_for_fulfillment          = true
  terminate_instances_on_delete = true

  launch_template_config {
    launch_template_specification {
      id      = aws_launch_template.one.id
      version = aws_launch_template.one.latest_version
    }
    overrides {
      instance_type     = "t3.micro"
      weighted_capacity = 2
    }
  }
}

resource "aws_ebs_volume" "one" {
  availability_zone = "us-east-1a"
  size              = 1
}

resource "aws_ebs_snapshot" "one" {
  volume_id         = aws_ebs_volume.one.id
  storage_tier      = var.changed ? "standard" : "archive"
  permanent_restore = var.changed ? true : null
}

resource "aws_network_interface" "one" {
  subnet_id = data.aws_subnets.default.ids[0]
}

resource "aws_network_interface_permission" "one" {
  network_interface_id = aws_network_interface.one.id
  aws_account_id       = "999999999999"
  permission           = "INSTANCE-ATTACH"
}
