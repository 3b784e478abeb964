# The Debian image's own part of guest.sh.

DEFAULT_USER=admin
# As in Debian's cloud images: sudo asks for the machine's own name.
NAME_IN_HOSTS=1

# What must stand in a fresh /run.
prepare_run() {
    mkdir -p /run/lock /run/sshd /run/user
    chmod 1777 /run/lock
    : >/run/utmp
    chgrp utmp /run/utmp 2>/dev/null
    chmod 664 /run/utmp
}

# A new instance from an old disk: it must not share the old one's SSH identity.
forget_instance() {
    rm -f /etc/ssh/ssh_host_*
}

# add_group NAME [ID]
add_group() {
    has_group "$1" || groupadd ${2:+-g "$2"} "$1"
}

# add_to_group USER GROUP
add_to_group() {
    add_group "$2"
    usermod -a -G "$2" "$1"
}

# add_user NAME UID GECOS HOME SHELL GROUP SYSTEM(0/1) MAKE_HOME(0/1); "" takes the default.
add_user() {
    has_user "$1" && return 0
    [ -z "$6" ] || add_group "$6"
    system=
    [ "$7" = 0 ] || system=-r
    make_home=-M
    [ "$8" = 0 ] || make_home=-m
    group=-U
    [ -z "$6" ] || group="-g $6"
    # $system, $make_home and $group are words of ours.
    useradd $system $make_home $group ${2:+-u "$2"} -c "$3" ${4:+-d "$4"} -s "${5:-/bin/bash}" "$1"
}

# set_password USER HASH: a crypt(3) hash, or "*" for none.
set_password() {
    usermod -p "$2" "$1"
}

# hash_password: reads a password, prints its hash.
hash_password() {
    openssl passwd -6 -stdin
}

let_sudo() {
    echo "$1 ALL=(ALL) NOPASSWD:ALL" >"/etc/sudoers.d/90-$1"
    chmod 440 "/etc/sudoers.d/90-$1"
}

# allow_passwords yes|no: over SSH.
allow_passwords() {
    echo "PasswordAuthentication $1" >/etc/ssh/sshd_config.d/50-cloud-init.conf
    [ ! -e /run/sshd.pid ] || /etc/init.d/ssh reload
}

deny_root() {
    rm -f /root/.ssh/authorized_keys
}

# install_packages UPDATE UPGRADE NAME...
install_packages() {
    update=$1
    upgrade=$2
    shift 2
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    if [ "$update" = 1 ] || [ "$upgrade" = 1 ] || [ $# -gt 0 ]; then
        apt-get update -q || say "packages: the archive cannot be reached (has this subnet a way out, and is egress on?)"
    fi
    [ "$upgrade" = 0 ] || apt-get -q -y dist-upgrade
    [ $# = 0 ] || apt-get -q -y install -- "$@" || say "packages: not installed: $*"
}
