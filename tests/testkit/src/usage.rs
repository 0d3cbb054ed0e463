//! What processes use, as Linux says.

use std::{fs, time::Duration};

/// Processor time that the current threads of a process have used, in user and in system mode, with a
/// finer resolution than clock ticks. `is_counted` is asked for the name of each thread.
pub fn threads_time(id: u32, is_counted: impl Fn(&str) -> bool) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("the process runs");
    let tasks = tasks.flatten().map(|task| task.path());
    // A thread may end between two looks at it.
    let counted = tasks.filter(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| is_counted(name.trim_end()))
    });
    let nanoseconds = counted.filter_map(|task| {
        let statistics = fs::read_to_string(task.join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The size on a line of a process' status, such as `VmHWM:`, in bytes.
pub fn status_bytes(id: u32, name: &str) -> u64 {
    let status = read(&format!("/proc/{id}/status"));
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a size in KiB") * 1024
}

/// The processes that a process has started.
pub fn children(id: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("there are processes").flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let parent = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in parentheses; then come the state and the parent.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    ids.filter(|each| parent(each) == Some(id)).collect()
}

/// A file that the kernel always has.
pub fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {file}: {error}"))
}

/// A size in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
