//! Several hosts on one machine. Each host is a set of namespaces with its own name, address, processes and shared
//! memory, and all are behind one switch; they share the file system. The scripts are in tests/lab.
//!
//! All hosts are nested in the head's namespaces, and the head ends when the pipe that [`Lab`] holds closes. So nothing
//! of a test's lab stays, however the test ends.
//!
//! Limits: the links have no delays and no losses, and there are no devices.

pub mod slurm;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::program::program;

/// The time within which hosts must come up or go, and Slurm must notice, which checks time limits about once a minute.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// A head and hosts `n1`, `n2`, … Dropping it ends all of them.
pub struct Lab {
    outer: Child,
    /// The head lives while this is open.
    pipe: Option<ChildStdin>,
    /// The process id, on this machine, of the head's process 1.
    head: u32,
}

impl Lab {
    /// Brings up the head and `num_hosts` hosts; `None`, with a clear message, if the machine does not allow
    /// namespaces.
    pub fn start(num_hosts: usize) -> Option<Self> {
        if let Err(reason) = allowed() {
            skipped(&reason);
            return None;
        }
        let mut command = Command::new("unshare");
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        command.args("--net --mount --pid --ipc --uts --fork --kill-child=KILL --mount-proc".split(' '));
        command.arg(script("head.sh")).arg(num_hosts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut outer = command.spawn().unwrap();
        let pipe = outer.stdin.take();
        let mut said = String::new();
        BufReader::new(outer.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the lab's head did not come up");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.id())).unwrap();
        let lab = Self { outer, pipe, head: children.trim().parse().unwrap() };
        thread::scope(|scope| {
            let lab = &lab;
            (1..=num_hosts).for_each(|number| drop(scope.spawn(move || lab.boot(number))));
        });
        Some(lab)
    }

    /// A program on the head, where people type their commands.
    pub fn head(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        // SAFETY: as above.
        if unsafe { libc::geteuid() } != 0 {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--target", &self.head.to_string()]).args("--net --mount --uts --ipc --pid --".split(' '));
        command.arg(program.as_ref());
        // Open MPI's sessions must not collide with those of another lab's host of the same name.
        command.env("OMPI_MCA_orte_tmpdir_base", "/dev/shm").env("OMPI_MCA_plm_rsh_agent", script("shell.sh"));
        // Every host uses one thread, so that sums are the same.
        command.env("OMP_NUM_THREADS", "1").env("OMP_WAIT_POLICY", "passive");
        // Its hosts have no GPU, whatever this machine has.
        command.env("CUDA_VISIBLE_DEVICES", "");
        command
    }

    /// `tercet` on the head.
    pub fn tercet(&self) -> Command {
        self.head(program("tercet"))
    }

    /// Runs a line of shell on a host, and returns its output.
    pub fn on(&self, host: &str, line: &str) -> String {
        let output = self.head(script("shell.sh")).args([host, line]).output().unwrap();
        assert!(output.status.success(), "{host}: {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts host number `number`.
    pub fn boot(&self, number: usize) {
        self.host(&["boot", &format!("n{number}"), &number.to_string()]);
    }

    /// Ends all of a host's processes at once.
    pub fn crash(&self, host: &str) {
        self.host(&["crash", host]);
    }

    /// The same, without a goodbye to its peers.
    pub fn power_off(&self, host: &str) {
        self.host(&["power-off", host]);
    }

    /// Pulls a host's cable.
    pub fn cut(&self, host: &str) {
        self.host(&["cut", host]);
    }

    /// Plugs the cable in again.
    pub fn heal(&self, host: &str) {
        self.host(&["heal", host]);
    }

    fn host(&self, words: &[&str]) {
        let mut command = self.head(script("host.sh"));
        let status = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "host.sh {words:?}");
    }

    /// The processes called `name` on all hosts and the head, by their ids on this machine.
    pub fn processes(&self, name: &str) -> Vec<i32> {
        let called =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|own| own.trim_end() == name);
        nested_in(self.head).filter(called).collect()
    }

    /// Those of one host.
    pub fn processes_of(&self, host: &str, name: &str) -> Vec<i32> {
        let own = self.on(host, "readlink /proc/1/ns/pid");
        let same =
            |pid: &i32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns.to_str() == Some(own.trim()));
        self.processes(name).into_iter().filter(same).collect()
    }

    /// Returns when none of these programs runs on any host.
    pub fn wait_until_none(&self, names: &[&str]) {
        wait_until(&format!("end of {names:?}"), || names.iter().all(|name| self.processes(name).is_empty()));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.outer.wait();
    }
}

/// Returns when `met` is true.
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < TIME_LIMIT, "no {what} in {TIME_LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Says why a test has done nothing. It bypasses the test harness, which hides a test's output.
pub fn skipped(reason: &str) {
    let _ = std::io::stderr().write_all(format!("\nSKIPPED, nothing was tested: {reason}\n").as_bytes());
}

fn allowed() -> Result<(), String> {
    let output = Command::new("unshare").args("--map-root-user --net --pid --fork true".split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no namespaces: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// A script of tests/lab.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab").join(name)
}

/// The processes of `head`'s namespace and of those nested in it.
fn nested_in(head: u32) -> impl Iterator<Item = i32> {
    let own = fs::metadata(format!("/proc/{head}/ns/pid")).map(|meta| meta.ino()).ok();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(move |pid| {
        // A host's namespace is one level below.
        let namespace = File::open(format!("/proc/{pid}/ns/pid")).ok();
        let parent = namespace.as_ref().and_then(parent_namespace);
        [namespace, parent].iter().flatten().any(|file| file.metadata().map(|meta| meta.ino()).ok() == own)
    })
}

fn parent_namespace(namespace: &File) -> Option<File> {
    /// ioctl_ns(2)
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the request takes no argument, and returns a new descriptor or -1.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT as _) };
    // SAFETY: the descriptor is new, and nothing else owns it.
    (parent >= 0).then(|| unsafe { File::from_raw_fd(parent) })
}
