# Ways between networks: what the community's VPC module makes with a NAT gateway, and peering, prefix lists and DHCP options.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
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
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = false
  endpoints {
    ec2 = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
    iam = "http://127.0.0.1:${var.port}"
  }
}

resource "aws_vpc" "main" {
  cidr_block           = "10.1.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_subnet" "public" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.1.0.0/24"
}

resource "aws_subnet" "private" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.1.1.0/24"
}

resource "aws_eip" "nat" {
  domain = "vpc"
}

resource "aws_nat_gateway" "main" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public.id
  tags          = { step = var.changed ? "two" : "one" }
  depends_on    = [aws_internet_gateway.main]
}

resource "aws_nat_gateway" "inner" {
  connectivity_type = "private"
  subnet_id         = aws_subnet.private.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.main.id
}

resource "aws_route_table_association" "private" {
  subnet_id      = aws_subnet.private.id
  route_table_id = aws_route_table.private.id
}

resource "aws_vpc" "other" {
  cidr_block           = "10.2.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_vpc_peering_connection" "pair" {
  vpc_id      = aws_vpc.main.id
  peer_vpc_id = aws_vpc.other.id
  auto_accept = true
  accepter {
    allow_remote_vpc_dns_resolution = var.changed
  }
  tags = { Name = "pair" }
}

resource "aws_route" "over" {
  route_table_id            = aws_route_table.private.id
  destination_cidr_block    = "10.2.0.0/16"
  vpc_peering_connection_id = aws_vpc_peering_connection.pair.id
}

resource "aws_ec2_managed_prefix_list" "offices" {
  name           = "offices"
  address_family = "IPv4"
  max_entries    = 5
  entry {
    cidr        = "192.0.2.0/24"
    description = "north"
  }
  dynamic "entry" {
    for_each = var.changed ? ["198.51.100.0/24"] : []
    content {
      cidr        = entry.value
      description = "south"
    }
  }
}

resource "aws_security_group" "far" {
  name   = "far"
  vpc_id = aws_vpc.other.id
}

resource "aws_security_group" "web" {
  name   = "web"
  vpc_id = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "offices" {
  security_group_id = aws_security_group.web.id
  prefix_list_id    = aws_ec2_managed_prefix_list.offices.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "peer" {
  security_group_id            = aws_security_group.web.id
  referenced_security_group_id = aws_security_group.far.id
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
  depends_on                   = [aws_vpc_peering_connection.pair]
}

resource "aws_route" "offices" {
  route_table_id             = aws_route_table.private.id
  destination_prefix_list_id = aws_ec2_managed_prefix_list.offices.id
  nat_gateway_id             = aws_nat_gateway.inner.id
}

resource "aws_vpc_dhcp_options" "corp" {
  domain_name         = "corp.example"
  domain_name_servers = ["AmazonProvidedDNS"]
  ntp_servers         = ["10.1.0.8"]
}

resource "aws_vpc_dhcp_options_association" "corp" {
  vpc_id          = aws_vpc.main.id
  dhcp_options_id = aws_vpc_dhcp_options.corp.id
}

# What comes in for the private subnet passes an appliance; later, all that comes in does.
resource "aws_network_interface" "appliance" {
  subnet_id         = aws_subnet.public.id
  source_dest_check = false
}

resource "aws_route_table" "edge" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block           = aws_vpc.main.cidr_block
    gateway_id           = var.changed ? null : "local"
    network_interface_id = var.changed ? aws_network_interface.appliance.id : null
  }
  route {
    cidr_block           = aws_subnet.private.cidr_block
    network_interface_id = aws_network_interface.appliance.id
  }
}

resource "aws_route_table_association" "edge" {
  gateway_id     = aws_internet_gateway.main.id
  route_table_id = aws_route_table.edge.id
}

# What the community's VPC module makes with a virtual private gateway.
resource "aws_vpn_gateway" "main" {
  vpc_id          = aws_vpc.main.id
  amazon_side_asn = "64620"
  tags            = { step = var.changed ? "two" : "one" }
}

resource "aws_vpn_gateway" "moved" {}

resource "aws_vpc" "far" {
  cidr_block = "10.9.0.0/16"
}

resource "aws_vpn_gateway_attachment" "moved" {
  vpc_id         = aws_vpc.far.id
  vpn_gateway_id = aws_vpn_gateway.moved.id
}

resource "aws_route_table" "vpn" {
  vpc_id = aws_vpc.main.id
}

resource "aws_vpn_gateway_route_propagation" "vpn" {
  vpn_gateway_id = aws_vpn_gateway.main.id
  route_table_id = aws_route_table.vpn.id
}

resource "aws_route" "office" {
  route_table_id         = aws_route_table.vpn.id
  destination_cidr_block = var.changed ? "192.168.8.0/24" : "192.168.0.0/16"
  gateway_id             = aws_vpn_gateway.main.id
}

resource "aws_route_table" "far" {
  vpc_id           = aws_vpc.far.id
  propagating_vgws = [aws_vpn_gateway_attachment.moved.vpn_gateway_id]
}

resource "aws_customer_gateway" "office" {
  type       = "ipsec.1"
  ip_address = "192.0.2.1"
  bgp_asn    = var.changed ? 65001 : 65000
}

data "aws_vpn_gateway" "main" {
  attached_vpc_id = aws_vpn_gateway.main.vpc_id
}
