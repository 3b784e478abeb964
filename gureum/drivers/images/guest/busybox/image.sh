# The BusyBox image's own part of guest.sh: accounts are lines in files, since this image has no account programs.

DEFAULT_USER=ec2-user
NAME_IN_HOSTS=0

# What must stand in a fresh /run.
prepare_run() {
    :
}

# A new instance from an old disk: it must not share the old one's SSH identity.
forget_instance() {
    rm -f /etc/dropbear/dropbear_*_host_key
}

# free_id FILE FIRST: the lowest number from FIRST on that no line of FILE has as its third field.
free_id() {
    awk -F: -v id="$2" '{ taken[$3] = 1 } END { while (id in taken) id++; print id }' "$1"
}

# add_group NAME [ID]
add_group() {
    has_group "$1" || echo "$1:x:${2:-$(free_id /etc/group 1000)}:" >>/etc/group
}

# add_to_group USER GROUP
add_to_group() {
    add_group "$2"
    awk -F: -v OFS=: -v user="$1" -v group="$2" '
        $1 == group && ("," $4 ",") !~ ("," user ",") { $4 = ($4 == "" ? user : $4 "," user) } { print }
    ' /etc/group >/etc/group.new && cat /etc/group.new >/etc/group
    rm -f /etc/group.new
}

# add_user NAME UID GECOS HOME SHELL GROUP SYSTEM(0/1) MAKE_HOME(0/1); "" takes the default.
add_user() {
    has_user "$1" && return 0
    first=1000
    [ "$7" = 1 ] && first=100
    uid=${2:-$(free_id /etc/passwd $first)}
    add_group "${6:-$1}"
    gid=$(awk -F: -v name="${6:-$1}" '$1 == name { print $3 }' /etc/group)
    home=${4:-/home/$1}
    echo "$1:x:$uid:$gid:$3:$home:${5:-/bin/sh}" >>/etc/passwd
    echo "$1:*:19000:0:99999:7:::" >>/etc/shadow
    if [ "$8" = 1 ]; then
        mkdir -p "$home"
        chown "$uid:$gid" "$home"
        chmod 755 "$home"
    fi
}

# set_password USER HASH: a crypt(3) hash, or "*" for none.
set_password() {
    awk -F: -v OFS=: -v user="$1" -v hash="$2" '$1 == user { $2 = hash } { print }' /etc/shadow >/etc/shadow.new &&
        cat /etc/shadow.new >/etc/shadow
    rm -f /etc/shadow.new
}

# hash_password: reads a password, prints its hash.
hash_password() {
    mkpasswd -m sha512 -P 0
}

# let_sudo USER: this image's sudo serves the members of wheel.
let_sudo() {
    add_to_group "$1" wheel
}

# allow_passwords yes|no: over SSH.
allow_passwords() {
    mkdir -p /etc/dropbear
    if [ "$1" = yes ]; then : >/etc/dropbear/passwords; else rm -f /etc/dropbear/passwords; fi
    ssh_restart
}

ssh_restart() {
    [ ! -e /run/dropbear.pid ] || kill "$(cat /run/dropbear.pid)" 2>/dev/null
}

deny_root() {
    rm -f /root/.ssh/authorized_keys
}

# install_packages UPDATE UPGRADE NAME...
install_packages() {
    shift 2
    [ $# = 0 ] || say "packages: this image has no package manager; not installed: $*"
}
