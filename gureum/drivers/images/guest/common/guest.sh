# What gureum's own images know about being an instance: read (".") by boot, final and by the script that the host renders from
# user data. POSIX sh; works with BusyBox alone. Every function prints to the console what went wrong and goes on, as
# cloud-init does: one bad line of user data must not cost the machine its SSH.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
IMDS=169.254.169.254
STATE=/var/lib/cloud

say() {
    echo "cloud-init: $*"
}

# --- instance metadata (IMDSv2) ---

# One request for a token: prints it. Fails with 1 when nobody answers or is ready yet, 2 when the service is switched off.
imds_token_once() {
    if command -v curl >/dev/null; then
        code=$(curl -s -m 5 -o /run/gureum/token -w '%{http_code}' -X PUT \
            -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' "http://$IMDS/latest/api/token") || return 1
        imds_verdict "$code" && cat /run/gureum/token
        return
    fi
    # BusyBox's wget cannot PUT. The FIFO keeps our side open until the answer has come: some servers drop half-closed connections.
    mkfifo /run/gureum/request || return 1
    exec 3<>/run/gureum/request
    rm -f /run/gureum/request
    printf 'PUT /latest/api/token HTTP/1.1\r\nHost: %s\r\nX-aws-ec2-metadata-token-ttl-seconds: 600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$IMDS" >&3
    nc -w 2 "$IMDS" 80 <&3 >/run/gureum/answer 2>/dev/null
    exec 3>&-
    read -r _ code _ </run/gureum/answer || return 1
    imds_verdict "$code" || return
    # The body: what follows the first empty line.
    sed '1,/^\r*$/d' /run/gureum/answer
}

imds_verdict() {
    case $1 in
        200) return 0 ;;
        403|404) return 2 ;;
        *) return 1 ;;
    esac
}

# Waits for the metadata service for up to 20 seconds.
imds_connect() {
    mkdir -p /run/gureum
    attempts=0
    while :; do
        TOKEN=$(imds_token_once)
        case $? in
            0) return 0 ;;
            2) say "the metadata service is switched off"; return 1 ;;
        esac
        attempts=$((attempts + 1))
        [ "$attempts" -lt 100 ] || { say "the metadata service does not answer"; return 1; }
        sleep 0.2
    done
}

# imds PATH: prints what stands under /latest/PATH; fails when there is nothing.
imds() {
    if command -v curl >/dev/null; then
        curl -s -f -m 10 -H "X-aws-ec2-metadata-token: $TOKEN" "http://$IMDS/latest/$1"
    else
        wget -q -O - --header "X-aws-ec2-metadata-token: $TOKEN" "http://$IMDS/latest/$1" 2>/dev/null
    fi
}

# The same for what is always there: so a failure passes.
imds_patiently() {
    for attempt in 1 2 3 4 5; do
        imds "$1" && return 0
        sleep 0.2
    done
    say "the metadata service gives no $1" >&2
    return 1
}

# --- names ---

# set_names HOST FQDN: the kernel's name and /etc/hostname. Fails in silence where the sandbox has fixed the name.
set_names() {
    hostname "$1" 2>/dev/null
    echo "$1" >/etc/hostname
    [ "$NAME_IN_HOSTS" = 0 ] || manage_hosts "$1" "$2"
}

# manage_hosts HOST FQDN: /etc/hosts as cloud-init's manage_etc_hosts writes it.
manage_hosts() {
    {
        echo "127.0.1.1 $2 $1"
        echo "127.0.0.1 localhost"
        echo "::1 localhost ip6-localhost ip6-loopback"
    } >/etc/hosts
}

set_timezone() {
    if [ -e "/usr/share/zoneinfo/$1" ]; then
        ln -sf "/usr/share/zoneinfo/$1" /etc/localtime
    else
        say "timezone $1: this image has no time zone data; the clock stays on UTC"
    fi
    echo "$1" >/etc/timezone
}

# --- accounts ---

home_of() {
    awk -F: -v name="$1" '$1 == name { print $6 }' /etc/passwd
}

has_user() {
    grep -q "^$1:" /etc/passwd
}

has_group() {
    grep -q "^$1:" /etc/group
}

# authorize USER: adds the public keys on standard input, those it has not yet.
authorize() {
    home=$(home_of "$1")
    [ -n "$home" ] || { say "no user $1 for SSH keys"; return 1; }
    mkdir -p "$home/.ssh"
    file=$home/.ssh/authorized_keys
    touch "$file"
    while IFS= read -r key || [ -n "$key" ]; do
        [ -z "$key" ] || grep -qxF "$key" "$file" || printf '%s\n' "$key" >>"$file"
    done
    chmod 700 "$home/.ssh"
    chmod 600 "$file"
    chown -R "$1:" "$home/.ssh" 2>/dev/null || chown -R "$1" "$home/.ssh"
}

# set_random_password USER: shows it on the console, as cloud-init does.
set_random_password() {
    text=$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')
    set_password "$1" "$(printf %s "$text" | hash_password)"
    echo "ci-info: $1:$text"
}

# --- going down ---

# Every process but init and the calling script.
other_processes() {
    for entry in /proc/[0-9]*; do
        pid=${entry#/proc/}
        [ "$pid" = 1 ] || [ "$pid" = $$ ] || return 0
    done
    return 1
}

# Asks all other processes to end and waits up to three seconds for them before it ends them.
end_processes() {
    kill -TERM -1 2>/dev/null
    kill -CONT -1 2>/dev/null
    tries=0
    while [ "$tries" -lt 60 ] && other_processes; do
        tries=$((tries + 1))
        sleep 0.05
    done
    kill -KILL -1 2>/dev/null
    sync
}

# --- files and scripts ---

uptime_s() {
    cut -d' ' -f1 /proc/uptime
}

final_message() {
    echo "$1"
    : >/run/gureum/finished
    date +%s >"$STATE/instance/boot-finished"
}

# write_file PATH OWNER MODE APPEND: content in base64 on standard input. OWNER and MODE may be "".
write_file() {
    mkdir -p "$(dirname "$1")" || return 1
    if [ "$4" = 1 ]; then base64 -d >>"$1"; else base64 -d >"$1"; fi || {
        say "write_files: $1 cannot be written"
        return 1
    }
    [ -z "$2" ] || chown "$2" "$1" || say "write_files: owner $2 of $1 is unknown"
    [ -z "$3" ] || chmod "$3" "$1"
}

# To the console and to a file. It outlives the request to end, so that a script that is asked to end can still say something.
log_output() {
    trap '' TERM
    exec tee -a /var/log/cloud-init-output.log
}

# run_part FILE: runs one part of the user data, which brings its own "#!" line.
run_part() {
    chmod 700 "$1"
    (cd / && exec "$1" </dev/null)
    code=$?
    [ "$code" = 0 ] || say "$1 ended with exit code $code"
    return "$code"
}

# run_folder KIND: the scripts under /var/lib/cloud/scripts/KIND that may be executed; those of per-once each once in the disk's life.
run_folder() {
    for script in "$STATE/scripts/$1"/*; do
        [ -f "$script" ] && [ -x "$script" ] || continue
        if [ "$1" = per-once ]; then
            done=$STATE/sem/${script##*/}.once
            [ ! -e "$done" ] || continue
            mkdir -p "$STATE/sem" && : >"$done"
        fi
        (cd / && exec setsid "$script" </dev/null)
        code=$?
        [ "$code" = 0 ] || say "$script ended with exit code $code"
    done
}

. /usr/lib/gureum/image.sh
