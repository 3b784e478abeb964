# is_system_script PATH: whether it does what a container has done for it (disks, clock, console, power). Those stay installed, since the
# order of all others is computed from them, but never run.
is_system_script() {
    case ${1##*/[SK][0-9][0-9]} in
        hostname.sh|hwclock.sh|mount*|checkroot*|checkfs.sh|bootmisc.sh|bootlogs|urandom|procps|brightness|x11-common|rmnologin) return 0 ;;
        sendsigs|umount*|halt|reboot|killprocs|single|udev|kmod|networking|console-setup.sh|keyboard-setup.sh|rc.local|'*') return 0 ;;
    esac
    return 1
}
