//! The command `state`: inspects a state directory, and repairs it.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context as _, bail};

use crate::{
    cli::{StateAction, StateFlag},
    clock::UnixMs,
    journal::{self, Kept, Repaired, SetAside, Waiting},
    ledger, state_dir,
};

/// Does what the command says, and writes the result for people to `out`. A reader that
/// has gone, as behind `| head`, is not an error.
///
/// # Errors
/// If the journal is broken or can't be read or repaired, or `out` can't be written.
pub fn run(action: &StateAction, out: &mut dyn Write) -> anyhow::Result<()> {
    let journal = |flag: &StateFlag| {
        let directory = state_dir::find(flag.state_dir.as_deref()).map_err(anyhow::Error::msg)?;
        let journal = directory.join(journal::DIRECTORY);
        anyhow::ensure!(
            journal.is_dir(),
            "there is no journal in {}: give the --state-dir that is given for counting",
            directory.display()
        );
        Ok(journal)
    };
    match action {
        StateAction::Show { dir, records } => {
            let mut out = Out { out, error: None };
            journal::show(&journal(dir)?, *records, ledger::described, &mut out)?;
            out.finish()
        }
        StateAction::Verify(dir) => {
            let report = journal::verify(&journal(dir)?)?;
            // The start also checks what the journal does not look into.
            let checked = report.state.as_ref().map_or(Ok(()), ledger::check);
            let mut out = Out { out, error: None };
            for broken in report.broken() {
                writeln!(out, "BROKEN: {broken}")?;
            }
            for (name, interim) in &report.interims {
                writeln!(out, "{name}: {interim}")?;
            }
            for (name, waiting) in &report.waiting {
                writeln!(out, "{name}: {}", Waiting(waiting))?;
            }
            // A broken journal matters more than an output that can't be written.
            if let Some(broken) = report.broken().next() {
                bail!("{broken}");
            }
            checked?;
            writeln!(out, "sound")?;
            out.finish()
        }
        StateAction::Repair(dir) => {
            let repaired = journal::repair(&journal(dir)?)?;
            let mut out = Out { out, error: None };
            tell_repaired(&repaired, &mut out)?;
            out.finish()
        }
        StateAction::ForgetCluster(dir) => {
            let forgotten = ledger::forget_cluster(&journal(dir)?, UnixMs::now())?;
            let mut out = Out { out, error: None };
            match forgotten {
                Some(cluster) => writeln!(
                    out,
                    "cluster {cluster:?} is forgotten: the next start goes on in the cluster of its \
                     --brokers, at the same offsets"
                )?,
                None => writeln!(
                    out,
                    "no cluster is recorded: the next start takes that of its --brokers"
                )?,
            }
            out.finish()
        }
    }
}

fn tell_repaired(repaired: &Repaired, out: &mut dyn Write) -> io::Result<()> {
    let Repaired { set_aside, newest, published, rewound, beside } = repaired;
    for SetAside { broken, to, bytes, deltas, .. } in set_aside {
        writeln!(out, "{broken}")?;
        writeln!(out, "  set aside in {}: {bytes} bytes, {deltas} deltas", to.display())?;
    }
    for name in rewound {
        writeln!(
            out,
            "the endpoint {name} continues from its acknowledged position; if that is lost too, \
             everything in the journal is sent again"
        )?;
    }
    match newest {
        Some((sequence, _)) => writeln!(out, "counting continues after delta {sequence}")?,
        None => writeln!(out, "no state is left: counting starts from zero")?,
    }
    for Kept { name, interim, to } in beside {
        writeln!(out, "{name}: {interim}")?;
        if let Some(to) = to {
            writeln!(out, "  set aside in {}", to.display())?;
        }
    }
    if let Some(published) = published {
        writeln!(
            out,
            "deltas up to {published} had been published: counters fall back to that delta, \
             which Prometheus takes for a reset; what Kafka still has is counted again"
        )?;
    }
    Ok(())
}

/// Passes on what is written until that fails, and keeps the error.
struct Out<'o> {
    out: &'o mut dyn Write,
    error: Option<io::Error>,
}

impl Out<'_> {
    fn finish(mut self) -> anyhow::Result<()> {
        self.flush()?;
        match self.error {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("writing what was found")
            }
            _ => Ok(()),
        }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none()
            && let Err(error) = self.out.write_all(bytes)
        {
            self.error = Some(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.error.is_none()
            && let Err(error) = self.out.flush()
        {
            self.error = Some(error);
        }
        Ok(())
    }
}
