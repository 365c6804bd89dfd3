//! A child process in its own group, from its start to the last of its group.
//!
//! All children are started by one thread that lives as long as any of them, because the kernel ties a
//! child's death to the thread that started it. The group is signalled only while its leader is not reaped,
//! so that the id cannot be another's.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::launcher::LAUNCHER_COMMAND;
use crate::upstream::options::UpstreamOptions;

/// Starts that may wait for the thread.
const STARTS_MAX: usize = 64;
/// Variables of the node's own that every child gets.
const ENV_PASSED: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

type Start = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that starts children.
pub(in crate::upstream) struct Spawner {
    starts: mpsc::Sender<Start>,
    launcher: Option<Vec<OsString>>,
}

/// A child just started.
pub(in crate::upstream) struct Started {
    pub(super) process: Process,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Spawner {
    /// Starts the thread; it ends with the last child and the last owner of the spawner. `launcher`: program
    /// (and arguments) to which `upstream-exec PARENT -- command` is appended; `None` starts commands
    /// directly.
    pub(in crate::upstream) fn start(launcher: Option<Vec<OsString>>) -> io::Result<Arc<Spawner>> {
        let (starts, mut queue) = mpsc::channel::<Start>(STARTS_MAX);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("upstream-start".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            while let Some((mut command, reply)) = queue.blocking_recv() {
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Arc::new(Spawner { starts, launcher }))
    }

    /// Starts one child.
    ///
    /// # Errors
    /// The program that could not be started, and why.
    pub(in crate::upstream) async fn spawn(
        self: &Arc<Self>,
        options: &UpstreamOptions,
    ) -> Result<Started, String> {
        let program = options.upstream.command.clone().unwrap_or_default();
        let failed = |error: io::Error| format!("cannot start {program}: {error}");
        let (reply, started) = oneshot::channel();
        let sent = self.starts.send((self.command(&program, options), reply)).await;
        sent.map_err(|_| format!("cannot start {program}: the starting thread is gone"))?;
        let started =
            started.await.map_err(|_| format!("cannot start {program}: the starting thread is gone"))?;
        let mut child = started.map_err(failed)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = (pid, child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(format!("cannot start {program}: it ended at once"));
        };
        let exit = pidfd_open(pid, PidfdFlags::NONBLOCK).ok().and_then(watched);
        let process = Process { child, pid, exit, group_ended: false, _spawner: self.clone() };
        Ok(Started { process, stdin, stdout, stderr })
    }

    fn command(&self, what: &str, options: &UpstreamOptions) -> Command {
        let mut command = match self.launcher.as_deref() {
            Some([program, args @ ..]) => {
                let mut command = Command::new(program);
                command.args(args).arg(LAUNCHER_COMMAND).arg(std::process::id().to_string()).arg("--");
                command.arg(what);
                command
            }
            _ => Command::new(what),
        };
        command.args(&options.upstream.args).env_clear();
        for name in ENV_PASSED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(&options.upstream.env);
        if let Some(cwd) = &options.upstream.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// `None` where the runtime cannot watch it.
#[allow(
    deprecated,
    reason = "deprecated for descriptors that can be closed while watched; this one is owned here"
)]
fn watched(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd).ok()
}

/// A running child and its group. Dropped without [`Process::end`], the whole group is killed.
pub(in crate::upstream) struct Process {
    child: Child,
    pid: Pid,
    exit: Option<AsyncFd<OwnedFd>>,
    group_ended: bool,
    _spawner: Arc<Spawner>,
}

impl Process {
    /// Its process id, which is also its group's.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Resolves when the leader has ended; it is not reaped by this.
    pub(super) async fn exited(&self) {
        match &self.exit {
            Some(exit) => {
                let _ = exit.readable().await;
            }
            // Without pidfds the end of its output has to do.
            None => std::future::pending().await,
        }
    }

    /// Ends the group in bounded time: waits (its stdin must be closed by now), SIGTERM, waits, SIGKILL. Says
    /// how it went.
    pub(super) async fn end(mut self, step: Duration) -> String {
        if timeout(step, self.exited()).await.is_err() {
            let _ = kill_process_group(self.pid, Signal::TERM);
            let _ = timeout(step, self.exited()).await;
        }
        self.kill_group();
        match timeout(step, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it could not be killed in time".to_owned(),
        }
    }

    /// Kills what is left of the group; the leader is not reaped yet, so the id is still ours.
    fn kill_group(&mut self) {
        if !std::mem::replace(&mut self.group_ended, true) {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}
