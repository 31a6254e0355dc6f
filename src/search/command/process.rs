//! One process with its children: started, listened to, and ended when it must end.
//!
//! The command runs in a process group of its own, so that a kill reaches what it started (unless that made a group of
//! its own). It is asked to end (SIGTERM) and killed [`GRACE`] later; what it leaves behind when it ends by itself is
//! killed.
//!
//! Output ends where its pipes close, or, where something that was left behind holds them open, where they were found
//! empty after the process had ended: whatever it wrote itself has been read by then, however busy the machine is.
//!
//! Memory is watched, not limited by `RLIMIT_AS`: that counts reserved addresses (Python with CUDA, a Java machine and
//! sanitizers reserve tens of gigabytes and use little), and counts each process alone. What is watched is the sum of
//! the group's resident memory, every [`LOOK`], so a limit may be passed for that long; pages that processes share
//! count twice.

#[cfg(unix)]
use rustix::process::Signal;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How often limits and the wish to stop are looked at, and whether the process of a silent pipe still runs.
const LOOK: Duration = Duration::from_millis(50);
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
    /// All of one of the two pipes has been read.
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
    match end {
        // What it left behind would go on beside other trials, and after the search.
        End::Exited(_) => signal(running.group.0, Signal::KILL),
        _ => running.end(listener, matches!(end, End::Large(_))),
    }
    Ok((end, running.last.into()))
}

/// What the shell finds wrong with a line before it runs it; none where it can be read.
///
/// # Errors
/// There is no shell.
pub(super) fn unreadable(line: &str) -> io::Result<Option<String>> {
    let output = Command::new("sh").args(["-n", "-c", line]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(said))
}

/// Kills every command that runs, at once: for a program that is about to exit.
pub fn kill_all() {
    let live: Vec<u32> = LIVE.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    live.into_iter().for_each(|group| signal(group, Signal::KILL));
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
#[cfg(unix)]
fn signal(group: u32, signal: Signal) {
    let group = i32::try_from(group).ok().and_then(rustix::process::Pid::from_raw);
    let _ = group.map(|group| rustix::process::kill_process_group(group, signal));
}

/// Elsewhere there are no groups.
#[cfg(not(unix))]
fn signal(_: u32, _: Signal) {}

#[cfg(not(unix))]
enum Signal {
    TERM,
    KILL,
}

/// Threads that read the pipes and wait for the end.
fn listen(mut child: Child) -> Receiver<Event> {
    let (sender, receiver) = sync_channel(QUEUE);
    let ended = Arc::new(AtomicBool::new(false));
    if let Some(pipe) = child.stdout.take() {
        let (sender, ended) = (sender.clone(), Arc::clone(&ended));
        std::thread::spawn(move || read(pipe, &ended, &sender, Event::Output));
    }
    if let Some(pipe) = child.stderr.take() {
        let (sender, ended) = (sender.clone(), Arc::clone(&ended));
        std::thread::spawn(move || read(pipe, &ended, &sender, Event::Error));
    }
    std::thread::spawn(move || {
        let status = child.wait();
        ended.store(true, Ordering::Release);
        drop(sender.send(Event::Exited(status)));
    });
    receiver
}

/// Sends the lines of a pipe until it is closed, or empty after the process has ended, or nobody listens.
fn read(mut pipe: impl Pipe, ended: &AtomicBool, sender: &SyncSender<Event>, event: fn(String) -> Event) {
    let mut lines = Lines { begun: Vec::new(), send: |line| sender.send(event(line)).is_ok() };
    let mut chunk = vec![0; 1 << 16];
    loop {
        // Asked before the look at the pipe: what is empty after the end stays so, but for what was left behind.
        let last = ended.load(Ordering::Acquire);
        match pipe.ready(if last { Duration::ZERO } else { LOOK }) {
            Ok(false) if last => break,
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => break,
        }
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) if lines.add(&chunk[..read]) => {}
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if lines.finish() {
        drop(sender.send(Event::Closed));
    }
}

/// Bytes that become lines; `send` is false where nobody wants more.
struct Lines<F: FnMut(String) -> bool> {
    begun: Vec<u8>,
    send: F,
}

impl<F: FnMut(String) -> bool> Lines<F> {
    fn add(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if !self.line() {
                return false;
            }
        }
        self.begun.extend_from_slice(bytes);
        true
    }

    fn line(&mut self) -> bool {
        let text = String::from_utf8_lossy(&self.begun).trim_end().to_owned();
        self.begun.clear();
        (self.send)(text)
    }

    /// A last line need not end.
    fn finish(&mut self) -> bool {
        self.begun.is_empty() || self.line()
    }
}

/// A pipe that can be asked whether something waits in it.
trait Pipe: Read {
    /// Whether a read would return at once, waiting so long for it.
    fn ready(&self, wait: Duration) -> io::Result<bool>;
}

#[cfg(unix)]
impl<T: Read + std::os::fd::AsFd> Pipe for T {
    fn ready(&self, wait: Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        loop {
            match poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&wait)) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Elsewhere a read waits until the pipe is closed, by whoever holds it.
#[cfg(not(unix))]
impl<T: Read> Pipe for T {
    fn ready(&self, _: Duration) -> io::Result<bool> {
        Ok(true)
    }
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
        let mut looked = started;
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
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its end was not heard of")),
            }
            // What has ended kept its limits, however long its last words take.
            if self.exited.is_none() && job.time_limit.is_some_and(|limit| started.elapsed() >= limit) {
                return Ok(End::Late);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if listener.stopping() {
                    return Ok(End::Stopped);
                }
                if let Some(limit) = job.memory_limit.filter(|_| self.exited.is_none()) {
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
            signal(self.group.0, Signal::TERM);
            while (self.closed < 2 || self.exited.is_none()) && Instant::now() < deadline {
                match self.events.recv_timeout(LOOK) {
                    // What it still says on standard output comes too late.
                    Ok(Event::Output(_)) | Err(RecvTimeoutError::Timeout) => {}
                    Ok(event) => drop(self.take(event, listener)),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        signal(self.group.0, Signal::KILL);
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
    fn a_line_that_no_shell_can_read_is_known_before() {
        for line in ["echo 'a", "(echo a", "if true; then echo a"] {
            assert!(unreadable(line).unwrap().is_some_and(|said| !said.is_empty()), "{line}");
        }
        assert_eq!(unreadable("echo a; exit 3").unwrap(), None);
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
    fn what_it_leaves_behind_holds_nothing_up_and_is_ended() {
        let started = Instant::now();
        // Silent or talkative, with its pipes open or closed; a process that stops by itself leaves no loop behind.
        let talk = "i=0; while [ $i -lt 6000 ]; do echo 2; sleep 0.01; i=$((i+1)); done";
        for left in ["sleep 60", talk, "exec >/dev/null 2>&1; sleep 60"] {
            let job = job(&format!("({left}) & echo $! >&2; echo 1"));
            let (end, last) = run(&job, &mut Heard::default()).unwrap();
            assert!(matches!(end, End::Exited(status) if status.success()));
            let deadline = Instant::now() + Duration::from_secs(5);
            while lives(&last[0]) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(!lives(&last[0]), "{left}");
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }

    /// Takes its time over every line, as a pruner of a large study on a busy machine may.
    struct Slow(Vec<String>, Duration);

    impl Listener for Slow {
        fn output(&mut self, line: &str) -> bool {
            let until = Instant::now() + self.1;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            self.0.push(line.to_owned());
            true
        }

        fn error(&mut self, _: &str) {}

        fn stopping(&self) -> bool {
            false
        }
    }

    #[test]
    fn the_last_line_is_heard_however_long_the_others_take() {
        let burst = Job { time_limit: Some(Duration::from_secs(10)), ..job("seq 1 1500; echo last") };
        let mut slow = Slow(Vec::new(), Duration::from_millis(1));
        assert!(matches!(run(&burst, &mut slow).unwrap().0, End::Exited(_)));
        assert_eq!((slow.0.len(), slow.0.last().map(String::as_str)), (1501, Some("last")));
        // One look may take longer than any patience.
        let mut slow = Slow(Vec::new(), Duration::from_millis(700));
        run(&job("echo 1; echo last"), &mut slow).unwrap();
        assert_eq!(slow.0, ["1", "last"]);
        // A line that is long takes long to be read.
        let mut heard = Heard::default();
        run(&job("head -c 20000000 /dev/zero | tr '\\0' a; echo; echo last"), &mut heard).unwrap();
        assert_eq!((heard.output[0].len(), heard.output[1].as_str()), (20_000_000, "last"));
    }
}
