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
    ec2 = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
  }
  default_tags { tags = { project = "gureum" } }
}
data "aws_availability_zones" "here" { state = "available" }
data "aws_region" "here" {}
resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = (var.changed ? "two" : "one") }
}
resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.1.0.0/16"
}
resource "aws_subnet" "public" {
  count                               = 2
  vpc_id                              = aws_vpc.main.id
  cidr_block                          = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone                   = data.aws_availability_zones.here.names[count.index]
  map_public_ip_on_launch             = var.changed
  private_dns_hostname_type_on_launch = "ip-name"
  tags                                = { Name = "public-${count.index}" }
}
resource "aws_subnet" "private" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.0.100.0/24"
}
resource "aws_internet_gateway" "gw" { vpc_id = aws_vpc.main.id }
resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.gw.id
  }
}
resource "aws_route_table" "private" { vpc_id = aws_vpc.main.id }
resource "aws_route" "eni" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "192.168.0.0/16"
  network_interface_id   = aws_network_interface.one.id
}
resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}
resource "aws_main_route_table_association" "main" {
  vpc_id         = aws_vpc.main.id
  route_table_id = aws_route_table.private.id
}
resource "aws_security_group" "web" {
  name_prefix = "web-"
  vpc_id      = aws_vpc.main.id
  ingress {
    description      = "http"
    from_port        = 80
    to_port          = 80
    protocol         = "tcp"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
  ingress {
    from_port = 0
    to_port   = 0
    protocol  = "-1"
    self      = true
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
  lifecycle { create_before_destroy = true }
}
resource "aws_security_group" "db" {
  name        = "db"
  description = "databases"
  vpc_id      = aws_vpc.main.id
}
resource "aws_vpc_security_group_ingress_rule" "db" {
  security_group_id            = aws_security_group.db.id
  referenced_security_group_id = aws_security_group.web.id
  from_port                    = 5432
  to_port                      = var.changed ? 5433 : 5432
  ip_protocol                  = "tcp"
  description                  = "from the web"
  tags                         = { Name = "db-in" }
}
resource "aws_vpc_security_group_egress_rule" "db" {
  security_group_id = aws_security_group.db.id
  cidr_ipv4         = "10.0.0.0/16"
  ip_protocol       = "-1"
}
resource "aws_security_group_rule" "ssh" {
  type              = "ingress"
  security_group_id = aws_security_group.db.id
  from_port         = 22
  to_port           = 22
  protocol          = "tcp"
  cidr_blocks       = ["10.0.0.0/8"]
}
resource "aws_network_interface" "one" {
  subnet_id         = aws_subnet.public[0].id
  private_ips       = var.changed ? ["10.0.0.50", "10.0.0.51", "10.0.0.52"] : ["10.0.0.50", "10.0.0.51"]
  security_groups   = [aws_security_group.web.id]
  source_dest_check = false
  description       = "router ${var.changed ? "two" : "one"}"
}
resource "aws_eip" "one" {
  domain                    = "vpc"
  network_interface         = aws_network_interface.one.id
  associate_with_private_ip = "10.0.0.50"
  depends_on                = [aws_internet_gateway.gw]
}
resource "aws_eip" "two" { domain = "vpc" }
resource "aws_eip_association" "two" {
  allocation_id        = aws_eip.two.id
  network_interface_id = aws_network_interface.one.id
  private_ip_address   = "10.0.0.51"
  depends_on           = [aws_internet_gateway.gw]
}
resource "aws_default_security_group" "default" { vpc_id = aws_vpc.main.id }
resource "aws_default_vpc" "default" { tags = { Name = "the default" } }
resource "aws_default_subnet" "a" { availability_zone = "us-east-1a" }
resource "aws_default_route_table" "default" {
  default_route_table_id = aws_default_vpc.default.default_route_table_id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = data.aws_internet_gateway.default.id
  }
}
data "aws_internet_gateway" "default" {
  filter {
    name   = "attachment.vpc-id"
    values = [aws_default_vpc.default.id]
  }
}
resource "aws_network_acl" "private" {
  vpc_id     = aws_vpc.main.id
  subnet_ids = var.changed ? [aws_subnet.private.id, aws_subnet.public[1].id] : [aws_subnet.private.id]
  ingress {
    rule_no    = 100
    action     = "deny"
    protocol   = "tcp"
    cidr_block = "192.0.2.0/24"
    from_port  = 22
    to_port    = var.changed ? 23 : 22
  }
  ingress {
    rule_no    = 200
    action     = "allow"
    protocol   = "icmp"
    cidr_block = "0.0.0.0/0"
    icmp_type  = 8
    icmp_code  = -1
    from_port  = 0
    to_port    = 0
  }
  egress {
    rule_no    = 100
    action     = "allow"
    protocol   = "-1"
    cidr_block = "0.0.0.0/0"
    from_port  = 0
    to_port    = 0
  }
  tags = { Name = "private" }
}
resource "aws_network_acl" "rules" { vpc_id = aws_vpc.main.id }
resource "aws_network_acl_association" "rules" {
  subnet_id      = aws_subnet.public[0].id
  network_acl_id = aws_network_acl.rules.id
}
resource "aws_network_acl_rule" "web" {
  network_acl_id = aws_network_acl.rules.id
  rule_number    = var.changed ? 110 : 100
  rule_action    = "allow"
  protocol       = "tcp"
  cidr_block     = "0.0.0.0/0"
  from_port      = 80
  to_port        = 80
}
resource "aws_network_acl_rule" "replies" {
  network_acl_id = aws_network_acl.rules.id
  egress         = true
  rule_number    = 100
  rule_action    = var.changed ? "deny" : "allow"
  protocol       = "tcp"
  cidr_block     = "0.0.0.0/0"
  from_port      = 1024
  to_port        = 65535
}
resource "aws_network_acl_rule" "other" {
  network_acl_id = aws_network_acl.rules.id
  egress         = true
  rule_number    = 200
  rule_action    = "allow"
  protocol       = "50"
  cidr_block     = "10.0.0.0/8"
}
resource "aws_default_network_acl" "main" {
  default_network_acl_id = aws_vpc.main.default_network_acl_id
  ingress {
    rule_no    = 100
    action     = "allow"
    protocol   = "-1"
    cidr_block = var.changed ? "0.0.0.0/0" : "10.0.0.0/8"
    from_port  = 0
    to_port    = 0
  }
  lifecycle { ignore_changes = [subnet_ids] }
}
data "aws_vpc" "default" { default = true }
data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}
data "aws_security_group" "default" {
  vpc_id = data.aws_vpc.default.id
  name   = "default"
}
data "aws_route_table" "public" { subnet_id = aws_route_table_association.public[0].subnet_id }
data "aws_vpc_dhcp_options" "d" { dhcp_options_id = data.aws_vpc.default.dhcp_options_id }
data "aws_network_acls" "d" { vpc_id = data.aws_vpc.default.id }
data "aws_eip" "one" { id = aws_eip.one.id }
data "aws_network_interface" "one" { id = aws_network_interface.one.id }
output "subnets" { value = length(data.aws_subnets.default.ids) }
