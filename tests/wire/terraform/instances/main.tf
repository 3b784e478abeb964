terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "port" { type = number }
variable "access_key" { type = string }
variable "public_key" { type = string }
variable "changed" {
  type    = bool
  default = false
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = "test"
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = false
  endpoints {
    ec2 = "http://127.0.0.1:${var.port}"
    ssm = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
    iam = "http://127.0.0.1:${var.port}"
  }
}

data "aws_ami" "small" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["gureum-busybox-*"]
  }
}

data "aws_ami" "ubuntu" {
  most_recent = true
  owners      = ["099720109477"]
  filter {
    name   = "name"
    values = ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-*-server-*"]
  }
  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

data "aws_ssm_parameter" "linux" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

data "aws_ec2_instance_type" "nano" {
  instance_type = "t3.nano"
}

data "aws_ec2_instance_type_offerings" "all" {
  filter {
    name   = "instance-type"
    values = ["t3.*"]
  }
}

resource "aws_key_pair" "imported" {
  key_name   = "imported"
  public_key = var.public_key
  tags       = { step = var.changed ? "two" : "one" }
}

resource "aws_launch_template" "web" {
  name          = "web"
  description   = var.changed ? "second" : "first"
  image_id      = data.aws_ami.small.id
  instance_type = var.changed ? "t3.micro" : "t3.nano"
  key_name      = aws_key_pair.imported.key_name
  user_data     = base64encode("#!/bin/sh\ntrue\n")

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = 9
      volume_type           = "gp3"
      delete_on_termination = true
    }
  }
  monitoring { enabled = true }
  tag_specifications {
    resource_type = "instance"
    tags          = { from = "template" }
  }
  tags = { kind = "template" }
}

resource "aws_launch_template" "empty" {
  name_prefix = "empty-"
}

resource "aws_iam_role" "machine" {
  name = "machine"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_instance_profile" "of" {
  for_each = toset(["web", "other"])
  name     = each.key
  role     = aws_iam_role.machine.name
}

resource "aws_instance" "plain" {
  ami                     = data.aws_ssm_parameter.linux.insecure_value
  instance_type           = var.changed ? "t3.micro" : "t3.nano"
  key_name                = aws_key_pair.imported.key_name
  user_data               = "#!/bin/sh\necho hello > /root/hello\n"
  monitoring              = var.changed
  disable_api_termination = false
  iam_instance_profile    = aws_iam_instance_profile.of[var.changed ? "other" : "web"].name

  metadata_options {
    http_tokens            = var.changed ? "required" : "optional"
    instance_metadata_tags = "enabled"
  }
  root_block_device {
    volume_size = var.changed ? 10 : 8
    volume_type = "gp3"
    tags        = { disk = "root" }
  }
  ebs_block_device {
    device_name = "/dev/sdf"
    volume_size = 1
  }
  credit_specification { cpu_credits = var.changed ? "standard" : "unlimited" }
  tags = { Name = var.changed ? "plain-2" : "plain" }
}

resource "aws_instance" "templated" {
  launch_template {
    id      = aws_launch_template.web.id
    version = "$Default"
  }
  # The provider compares whole tags, so the template's own stand here too.
  tags = { Name = "templated", from = "template" }
  lifecycle {
    # The provider hashes the hash of a template's user data once more in every plan (5.100), on AWS too.
    ignore_changes = [user_data]
  }
}

resource "aws_security_group" "second" {
  name = "second"
}

resource "aws_instance" "switched" {
  ami                                  = data.aws_ami.small.id
  instance_type                        = "t3.nano"
  user_data                            = var.changed ? "#!/bin/sh\necho two\n" : "#!/bin/sh\necho one\n"
  source_dest_check                    = !var.changed
  instance_initiated_shutdown_behavior = var.changed ? "terminate" : "stop"
  disable_api_stop                     = false
  vpc_security_group_ids               = var.changed ? [aws_security_group.second.id] : null
  availability_zone                    = "us-east-1b"
  maintenance_options { auto_recovery = var.changed ? "disabled" : "default" }
  tags = { Name = "switched" }
}

data "aws_subnet" "default" {
  availability_zone = "us-east-1b"
  default_for_az    = true
}

resource "aws_network_interface" "more" {
  subnet_id = data.aws_subnet.default.id
}

resource "aws_network_interface_attachment" "more" {
  count                = var.changed ? 1 : 0
  instance_id          = aws_instance.plain_b.id
  network_interface_id = aws_network_interface.more.id
  device_index         = 1
}

resource "aws_instance" "plain_b" {
  ami               = data.aws_ami.ubuntu.id
  instance_type     = "t3.nano"
  availability_zone = "us-east-1b"
}

resource "aws_ec2_instance_metadata_defaults" "account" {
  http_tokens                 = var.changed ? "no-preference" : "optional"
  http_put_response_hop_limit = 1
}

resource "aws_ebs_volume" "data" {
  availability_zone = "us-east-1a"
  size              = var.changed ? 3 : 2
  type              = "gp3"
  tags              = { Name = "data" }
}

data "aws_instance" "again" {
  instance_id = aws_instance.plain.id
}

data "aws_launch_template" "again" {
  name = aws_launch_template.web.name
}

output "address" { value = aws_instance.plain.public_ip }
output "memory" { value = data.aws_ec2_instance_type.nano.memory_size }
