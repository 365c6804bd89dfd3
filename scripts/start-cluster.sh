#!/usr/bin/env bash
# A cluster of local nodes: start, stop, restart, status. Works from any directory.
#
#   ERLMCP_NODES=4            how many nodes (1 to 64)
#   ERLMCP_PORT_BASE=8080     HTTP of node N is base+N-1; TCP and peer ports follow
#   ERLMCP_DATA_DIR=data      state of the nodes, clusterN for node N
#   ERLMCP_LOG_DIR=logs/cluster   nodeN.log and nodeN.pid
#   ERLMCP_BIN=               a binary to use; without, one is built (release)
#   ERLMCP_START_TIMEOUT_S=60 how long forming may take
#   ERLMCP_STOP_TIMEOUT_S=30  how long a graceful stop may take
#
# Relative paths are below the project. Exit codes: 0 done; 1 failed; 2 wrong usage; 3 (status) not all
# nodes run and are ready.
set -euo pipefail

usage() {
    sed -n '2,13p' "$script" | sed 's/^# \{0,1\}//'
    echo "usage: start-cluster.sh start|stop|restart|status"
}

say() { printf '%s\n' "$*"; }
warn() { printf 'start-cluster: %s\n' "$*" >&2; }
die() {
    warn "$1"
    exit "${2:-1}"
}

# A whole number from $2 to $3 under the name $4.
number() {
    if ! [[ $1 =~ ^[0-9]{1,6}$ ]] || ((10#$1 < $2 || 10#$1 > $3)); then
        die "$4 is \"$1\"; it must be a whole number between $2 and $3" 2
    fi
}

absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$root" "$1" ;; esac }

script=$(readlink -f "${BASH_SOURCE[0]}")
root=$(dirname "$(dirname "$script")")
nodes=${ERLMCP_NODES:-4}
base=${ERLMCP_PORT_BASE:-8080}
start_timeout=${ERLMCP_START_TIMEOUT_S:-60}
stop_timeout=${ERLMCP_STOP_TIMEOUT_S:-30}
number "$nodes" 1 64 ERLMCP_NODES
number "$base" 1024 64000 ERLMCP_PORT_BASE
number "$start_timeout" 1 3600 ERLMCP_START_TIMEOUT_S
number "$stop_timeout" 1 3600 ERLMCP_STOP_TIMEOUT_S
data=$(absolute "${ERLMCP_DATA_DIR:-data}")
logs=$(absolute "${ERLMCP_LOG_DIR:-logs/cluster}")
# A named binary is meant from where the user stands.
bin=${ERLMCP_BIN:+$(readlink -f "$ERLMCP_BIN" || printf '%s' "$ERLMCP_BIN")}

# What every node and every command below is to see.
export ERLMCP_PORT_BASE=$base ERLMCP_DATA_DIR=$data
export ERLMCP_CLUSTER_NODES_EXPECTED=${ERLMCP_CLUSTER_NODES_EXPECTED:-$nodes}
cd "$root"

now_ms() {
    local t=${EPOCHREALTIME/[.,]/}
    printf '%s' $((t / 1000))
}

log_of() { printf '%s/node%s.log' "$logs" "$1"; }
pid_file() { printf '%s/node%s.pid' "$logs" "$1"; }

# Every node that has a pid file, also those beyond ERLMCP_NODES of an earlier start.
known_nodes() {
    local file name
    for file in "$logs"/node*.pid; do
        name=${file##*/node}
        name=${name%.pid}
        if [[ $name =~ ^[0-9]+$ ]]; then printf '%s\n' "$name"; fi
    done | sort -n
}

# When the process was started, in ticks since boot: a number that a reused pid does not share.
started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name in parentheses may hold anything; what follows the last one is fields 3 and up.
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] || return 1
    printf '%s' "${fields[19]}"
}

# The pid of node $1 if exactly the process that we started is still there, doing what we started it for.
alive() {
    local pid ticks line
    read -r pid ticks 2>/dev/null <"$(pid_file "$1")" || return 1
    [[ $pid =~ ^[0-9]+$ && $(started_at "$pid") == "$ticks" ]] || return 1
    line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || return 1
    [[ $line == *" start --id $1 "* ]] || return 1
    printf '%s' "$pid"
}

tail_of_log() {
    warn "the last lines of $(log_of "$1"):"
    tail -n 15 "$(log_of "$1")" 2>/dev/null | sed 's/^/    /' >&2
}

find_binary() {
    if [[ -n $bin ]]; then
        [[ -x $bin ]] || die "ERLMCP_BIN=$bin cannot be run"
    elif [[ ${1:-} == build ]]; then
        command -v cargo >/dev/null || die "cargo is missing: install Rust (https://rustup.rs) or set ERLMCP_BIN"
        say "building (cargo build --release) ..."
        cargo build --release --quiet --bin erlmcp-node || die "the build failed"
        bin=${CARGO_TARGET_DIR:-$root/target}/release/erlmcp-node
    else
        bin=${CARGO_TARGET_DIR:-$root/target}/release/erlmcp-node
        [[ -x $bin ]] || bin=
    fi
}

# One start or stop at a time in one log directory. The nodes must not inherit the lock.
lock() {
    mkdir -p "$logs"
    exec 9>"$logs/.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        die "another start or stop is under way in $logs"
    fi
}

launch() {
    local pid
    # Its own session: ctrl-c in this terminal is not for the nodes.
    setsid "$bin" start --id "$1" >>"$(log_of "$1")" 2>&1 </dev/null 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(started_at "$pid" || printf 0)" >"$(pid_file "$1")"
}

# What node $1 says of itself in one word: ready, drained (as an operator wished), waiting, or silent.
word_of() {
    local status drained='"not_ready_because":\["draining[^"]*"\]'
    if ! status=$("$bin" status --id "$1" --json 2>/dev/null); then
        printf silent
    elif [[ $status != *'"formation":"formed"'* ]]; then
        printf waiting
    elif [[ $status == *'"ready":true'* ]]; then
        printf ready
    elif [[ $status =~ $drained ]]; then
        printf drained
    else
        printf waiting
    fi
}

# Waits until every node says formed and is ready.
wait_formed() {
    local deadline=$(($(now_ms) + start_timeout * 1000)) waiting=("${all[@]}") next said=""
    while ((${#waiting[@]})); do
        next=()
        for n in "${waiting[@]}"; do
            if ! alive "$n" >/dev/null; then
                warn "node $n has ended"
                tail_of_log "$n"
                return 1
            fi
            case $(word_of "$n") in
                ready) ;;
                drained) say "  node $n is drained and admits nothing new; take it back: $bin undrain --id $n" ;;
                *) next+=("$n") ;;
            esac
        done
        waiting=("${next[@]+"${next[@]}"}")
        ((${#waiting[@]})) || break
        if (($(now_ms) > deadline)); then
            warn "not formed and ready within $start_timeout s: node ${waiting[*]}"
            "$bin" healthcheck --id "${waiting[0]}" || true
            tail_of_log "${waiting[0]}"
            return 1
        fi
        if [[ $said != "${waiting[*]}" ]]; then
            said=${waiting[*]}
            say "  waiting for node $said"
        fi
        sleep 0.1
    done
}

start() {
    find_binary build
    lock
    local began fresh=0
    mapfile -t all < <(seq 1 "$nodes")
    for n in "${all[@]}"; do
        "$bin" init --id "$n" >"$(log_of "$n").init" 2>&1 || {
            cat "$(log_of "$n").init" >&2
            die "node $n cannot be initialised"
        }
        rm -f "$(log_of "$n").init"
    done
    began=$(now_ms)
    for n in "${all[@]}"; do
        if alive "$n" >/dev/null; then continue; fi
        launch "$n"
        fresh=$((fresh + 1))
    done
    say "started $fresh of $nodes nodes ($((nodes - fresh)) ran already); logs in $logs"
    wait_formed || die "the cluster did not form; stop what runs with: $script stop"
    say "formed and ready after $(($(now_ms) - began)) ms"
    say
    "$bin" status --id 1
    say
    local client='"capabilities":{},"clientInfo":{"name":"curl","version":"1"}'
    say "next:"
    say "  curl http://127.0.0.1:$base/cluster/status"
    say "  curl http://127.0.0.1:$base/mcp \\"
    say "    -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \\"
    say "    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",$client}}'"
    say "  $bin status --watch"
}

stop() {
    lock
    local pid deadline left=() still
    for n in $(known_nodes); do
        if pid=$(alive "$n"); then
            kill -TERM "$pid" 2>/dev/null || true
            left+=("$n")
        else
            rm -f "$(pid_file "$n")"
        fi
    done
    if ((${#left[@]} == 0)); then
        say "no node runs"
        return
    fi
    say "stopping node ${left[*]}"
    deadline=$(($(now_ms) + stop_timeout * 1000))
    while ((${#left[@]})); do
        still=()
        for n in "${left[@]}"; do
            if alive "$n" >/dev/null; then still+=("$n"); else rm -f "$(pid_file "$n")"; fi
        done
        left=("${still[@]+"${still[@]}"}")
        ((${#left[@]} && $(now_ms) < deadline)) || break
        sleep 0.05
    done
    for n in "${left[@]+"${left[@]}"}"; do
        if pid=$(alive "$n"); then
            warn "node $n did not stop within $stop_timeout s; killing it (pid $pid)"
            kill -KILL "$pid" 2>/dev/null || true
            while alive "$n" >/dev/null; do sleep 0.05; done
        fi
        rm -f "$(pid_file "$n")"
    done
    say "stopped"
}

status() {
    find_binary
    local missing=0 pid word answering=""
    for n in $(
        {
            seq 1 "$nodes"
            known_nodes
        } | sort -nu
    ); do
        if ! pid=$(alive "$n"); then
            say "node $n  does not run"
            missing=1
            continue
        fi
        word=runs
        if [[ -n $bin ]]; then word=$(word_of "$n"); fi
        case $word in
            silent) missing=1 ;;
            waiting)
                missing=1
                answering=${answering:-$n}
                ;;
            *) answering=${answering:-$n} ;;
        esac
        say "node $n  $word  pid $pid  http://127.0.0.1:$((base + n - 1))"
    done
    if [[ -n $answering && -n $bin ]]; then
        say
        "$bin" status --id "$answering"
    fi
    ((missing == 0)) || exit 3
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    restart)
        stop
        start
        ;;
    status) status ;;
    -h | --help | help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
