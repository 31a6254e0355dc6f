//! One process with its children: started, listened to, and ended when it must end.
//!
//! The command runs in a process group of its own, so that a kill reaches what it started (unless that made a group of
//! its own). It is asked to end (SIGTERM) and killed [`GRACE`] later. Signals are sent by the shell's own `kill`, which
//! is there wherever the command's shell is.
//!
//! Memory is watched, not limited by `RLIMIT_AS`: that counts reserved addresses (Python with CUDA, a Java machine and
//! sanitizers reserve tens of gigabytes and use little), and counts each process alone. What is watched is the sum of the
//! group's resident memory, every [`LOOK`], so a limit may be passed for that long; pages that processes share count twice.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How often limits and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may be heard after the process has ended (something it left behind may hold the pipe).
const DRAIN: Duration = Duration::from_millis(500);
/// Lines that may wait to be looked at before the process has to wait.
const QUEUE: usize = 1024;
/// Last lines of standard error that are kept.
const LAST: usize = 20;

/// The process groups that run now.
static LIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// What to run, and how long and large it may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub line: String,
    pub environment: Vec<(String, String)>,
    pub time_limit: Option<Duration>,
    /// Bytes.
    pub memory_limit: Option<u64>,
}

/// Who listens to a process.
pub(super) trait Listener {
    /// A line of standard output; false ends the process.
    fn output(&mut self, line: &str) -> bool;
    /// A line of standard error.
    fn error(&mut self, line: &str);
    /// Whether it should end now.
    fn stopping(&self) -> bool;
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// The listener ended it.
    Stopped,
    /// Its time was up.
    Late,
    /// It had grown to so many bytes.
    Large(u64),
}

enum Event {
    Output(String),
    Error(String),
    /// One of the two pipes is closed.
    Closed,
    Exited(io::Result<ExitStatus>),
}

/// Runs a job to its end; also the last lines of its standard error.
///
/// # Errors
/// The process cannot be started.
pub(super) fn run(job: &Job, listener: &mut dyn Listener) -> io::Result<(End, Vec<String>)> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(&job.line).envs(job.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn()?;
    let group = Group::of(&child);
    let mut running = Running { group, events: listen(child), closed: 0, exited: None, last: VecDeque::new() };
    let end = running.follow(job, listener)?;
    if !matches!(end, End::Exited(_)) {
        running.end(listener, matches!(end, End::Large(_)));
    }
    Ok((end, running.last.into()))
}

/// Kills every command that runs, at once: for a program that is about to exit.
pub fn kill_all() {
    let live: Vec<u32> = LIVE.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    live.into_iter().for_each(|group| signal(group, "KILL"));
}

/// A process group, on the list of those that run until it is dropped.
struct Group(u32);

impl Group {
    fn of(child: &Child) -> Self {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        Group(child.id())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Sends a signal to every process of a group; that there is none left is no error.
fn signal(group: u32, name: &str) {
    let kill = ["-c", "kill -s \"$0\" -- \"-$1\"", name];
    let sent = Command::new("sh").args(kill).arg(group.to_string()).stdin(Stdio::null()).stderr(Stdio::null()).status();
    drop(sent);
}

/// Threads that read the pipes and wait for the end.
fn listen(mut child: Child) -> Receiver<Event> {
    let (sender, receiver) = sync_channel(QUEUE);
    if let Some(pipe) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read(pipe, &sender, Event::Output));
    }
    if let Some(pipe) = child.stderr.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read(pipe, &sender, Event::Error));
    }
    std::thread::spawn(move || drop(sender.send(Event::Exited(child.wait()))));
    receiver
}

/// Sends the lines of a pipe until it is closed or nobody listens.
fn read(pipe: impl Read, sender: &SyncSender<Event>, event: fn(String) -> Event) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send(event(text)).is_err() {
            return;
        }
        line.clear();
    }
    drop(sender.send(Event::Closed));
}

struct Running {
    group: Group,
    events: Receiver<Event>,
    /// How many of the two pipes are closed.
    closed: usize,
    exited: Option<ExitStatus>,
    last: VecDeque<String>,
}

impl Running {
    /// Listens until the process has ended or has to.
    fn follow(&mut self, job: &Job, listener: &mut dyn Listener) -> io::Result<End> {
        let started = Instant::now();
        let (mut looked, mut heard) = (started, started);
        loop {
            if self.closed == 2
                && let Some(status) = self.exited
            {
                return Ok(End::Exited(status));
            }
            match self.events.recv_timeout(LOOK) {
                Ok(event) => {
                    if !self.take(event, listener)? {
                        return Ok(End::Stopped);
                    }
                    // From here on: the listener may have taken long.
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its end was not heard of")),
            }
            if let Some(status) = self.exited {
                // What is left of its output; a process it left behind does not hold the trial up.
                if heard.elapsed() >= DRAIN {
                    return Ok(End::Exited(status));
                }
                continue;
            }
            if job.time_limit.is_some_and(|limit| started.elapsed() >= limit) {
                return Ok(End::Late);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if listener.stopping() {
                    return Ok(End::Stopped);
                }
                if let Some(limit) = job.memory_limit {
                    let used = group_memory(self.group.0);
                    if used > limit {
                        return Ok(End::Large(used));
                    }
                }
            }
        }
    }

    /// Takes an event over; false where the listener has had enough.
    fn take(&mut self, event: Event, listener: &mut dyn Listener) -> io::Result<bool> {
        match event {
            Event::Output(line) => return Ok(listener.output(&line)),
            Event::Error(line) => {
                listener.error(&line);
                if self.last.len() == LAST {
                    self.last.pop_front();
                }
                self.last.push_back(line);
            }
            Event::Closed => self.closed += 1,
            Event::Exited(status) => self.exited = Some(status?),
        }
        Ok(true)
    }

    /// Ends the group: politely, unless it must go at once.
    fn end(&mut self, listener: &mut dyn Listener, at_once: bool) {
        let deadline = Instant::now() + GRACE;
        if !at_once {
            signal(self.group.0, "TERM");
            while (self.closed < 2 || self.exited.is_none()) && Instant::now() < deadline {
                match self.events.recv_timeout(LOOK) {
                    // What it still says on standard output comes too late.
                    Ok(Event::Output(_)) | Err(RecvTimeoutError::Timeout) => {}
                    Ok(event) => drop(self.take(event, listener)),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        signal(self.group.0, "KILL");
    }
}

/// Whether [`group_memory`] can tell anything here.
pub(super) fn can_watch_memory() -> bool {
    std::path::Path::new("/proc/self/stat").exists()
}

/// Resident bytes of all processes of a group.
fn group_memory(group: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let in_group = paths.filter(|path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The name in field 2 may hold anything; state, parent and group follow its last bracket.
        let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2));
        field.is_some_and(|field| field.parse() == Ok(group))
    });
    let resident = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    in_group.filter_map(resident).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        output: Vec<String>,
        error: Vec<String>,
        enough: Option<&'static str>,
    }

    impl Listener for Heard {
        fn output(&mut self, line: &str) -> bool {
            self.output.push(line.to_owned());
            self.enough != Some(line)
        }

        fn error(&mut self, line: &str) {
            self.error.push(line.to_owned());
        }

        fn stopping(&self) -> bool {
            false
        }
    }

    fn job(line: &str) -> Job {
        Job { line: line.to_owned(), ..Job::default() }
    }

    /// Whether a process lives and is no zombie.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[test]
    fn all_output_is_heard_and_the_code_is_known() {
        let mut heard = Heard::default();
        let (end, last) = run(&job("echo a; echo b >&2; printf c; exit 3"), &mut heard).unwrap();
        assert!(matches!(end, End::Exited(status) if status.code() == Some(3)), "{end:?}");
        assert_eq!((heard.output, last), (vec!["a".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
        // More than a pipe or the queue holds, on both at once.
        let mut heard = Heard::default();
        let flood = "i=0; while [ $i -lt 5000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
        let (_, last) = run(&job(flood), &mut heard).unwrap();
        assert_eq!((heard.output.len(), heard.error.len(), last.len()), (5000, 5000, LAST));
        assert_eq!(last.last().map(String::as_str), Some("err 4999"));
    }

    #[test]
    fn an_end_reaches_the_children_even_stubborn_ones() {
        let started = Instant::now();
        let mut heard = Heard { enough: Some("go"), ..Heard::default() };
        let stubborn = "(trap '' TERM; sleep 60 & wait; sleep 60) & echo $!; sleep 60 & echo $!; echo go; wait";
        let (end, _) = run(&job(stubborn), &mut heard).unwrap();
        assert_eq!(end, End::Stopped);
        assert!(started.elapsed() < Duration::from_secs(20));
        let deadline = Instant::now() + Duration::from_secs(5);
        while heard.output.iter().any(|pid| lives(pid)) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(heard.output.iter().all(|pid| !lives(pid)), "{:?}", heard.output);
    }

    #[test]
    fn limits_end_it() {
        let late = Job { time_limit: Some(Duration::from_millis(200)), ..job("echo 1 2; sleep 60") };
        let mut heard = Heard::default();
        assert_eq!(run(&late, &mut heard).unwrap().0, End::Late);
        assert_eq!(heard.output, ["1 2"]);
        if can_watch_memory() {
            // A shell with a value of 16 MB in it, whatever else it is.
            let line = "x=$(head -c 16000000 /dev/zero | tr '\\0' x); sleep 60";
            let large = Job { memory_limit: Some(12 << 20), ..job(line) };
            let end = run(&large, &mut Heard::default()).unwrap().0;
            assert!(matches!(end, End::Large(used) if used > 12 << 20), "{end:?}");
        }
    }

    #[test]
    fn what_it_leaves_behind_holds_nothing_up() {
        let started = Instant::now();
        let (end, _) = run(&job("sleep 5 & echo 1"), &mut Heard::default()).unwrap();
        assert!(matches!(end, End::Exited(status) if status.success()));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
}
