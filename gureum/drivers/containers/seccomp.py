"""The system calls a container may make: an allow-list with the semantics of Docker's default profile.

What is not on the list fails with EPERM (`clone3` with ENOSYS, so that C libraries fall back to `clone`, whose flags a
filter can read). A call is allowed always, or only together with a capability, or only with certain arguments:

    ALWAYS          harmless or confined by namespaces and permissions
    WITH_CAPABILITY what the kernel would refuse anyway without it; kept off so that such code is not even reached
    arguments       personality (a few values), socket (no AF_VSOCK), clone and unshare (no namespaces)

A machine (an instance with a user namespace of its own) gets CAP_SYS_ADMIN over that namespace and with it the mount
family and new namespaces, but never a nested user namespace: flags of `clone` and `unshare` stay checked. Calls that act on
the whole kernel (modules, kexec, bpf, perf, io_uring, keyrings, swap, userfaultfd, open_by_handle_at) are allowed to nobody.

Sources: Docker's documentation of its default seccomp profile; OCI runtime-spec 1.0 config-linux.md; seccomp(2).
"""

from __future__ import annotations

from typing import Any

CLONE_NEWUSER = 0x10000000
# newns, newcgroup, newuts, newipc, newuser, newpid, newnet: together with CLONE_THREAD and the like these are clone's flags.
_CLONE_NAMESPACES = 0x7E020000
_AF_VSOCK = 40
_ENOSYS = 38
# Linux, Linux with 32-bit uname, and their "no address randomisation"-free read-only query.
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

_ALWAYS = """
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat
exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat
fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue
futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64
getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch
inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl
ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat
listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create
memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc
pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg
recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr
shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat
sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes
vfork vmsplice wait4 waitid write writev
"""

_WITH_CAPABILITY: dict[str, str] = {
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_NICE": "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_ADMIN": "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setdomainname "
    "sethostname setns statmount listmount umount2",
}


def allowed(capabilities: frozenset[str]) -> list[str]:
    """Names of the calls that are allowed whatever their arguments, for a container with these capabilities."""
    gated = [name for cap, names in _WITH_CAPABILITY.items() if cap in capabilities for name in names.split()]
    return [*_ALWAYS.split(), *gated]


def render(capabilities: frozenset[str], machine: str) -> dict[str, Any]:
    """The `linux.seccomp` object of an OCI configuration. `machine`: as uname(2) names it, "x86_64" or "aarch64"."""
    # With power over its own namespaces it may make others, but a nested user namespace would hand out every
    # capability again, and with it kernel code that is off here.
    forbidden_flags = CLONE_NEWUSER if "CAP_SYS_ADMIN" in capabilities else _CLONE_NAMESPACES
    flagged = ["clone", "unshare"] if "CAP_SYS_ADMIN" in capabilities else ["clone"]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            _rule(allowed(capabilities)),
            *(_rule(["personality"], arg=(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES),
            _rule(["socket"], arg=(0, _AF_VSOCK, "SCMP_CMP_NE")),
            _rule(flagged, arg=(0, forbidden_flags, "SCMP_CMP_MASKED_EQ"), equal_to=0),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        ],
    }


def _rule(names: list[str], *, arg: tuple[int, int, str] | None = None, equal_to: int | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if arg is not None:
        index, value, operator = arg
        condition: dict[str, Any] = {"index": index, "value": value, "op": operator}
        if equal_to is not None:
            condition["valueTwo"] = equal_to
        rule["args"] = [condition]
    return rule
