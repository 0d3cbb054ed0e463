//! The command that looks at a state directory and repairs it.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context as _, bail};

use crate::{
    cli::{StateAction, StateFlag},
    journal::{self, Repaired, SetAside},
    ledger, state_dir,
};

/// Does what the command says and writes what people are to know to `out`. Where nobody reads that
/// any more, as behind `| head`, that is no error.
///
/// # Errors
/// Where the journal is broken, can't be read or repaired, or `out` takes nothing.
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
            journal::show(&journal(dir)?, *records, &mut out)?;
            out.finish()
        }
        StateAction::Verify(dir) => {
            let report = journal::verify(&journal(dir)?)?;
            // What the journal does not look into, a start does.
            let checked = report.state.as_ref().map_or(Ok(()), ledger::check);
            let mut out = Out { out, error: None };
            for broken in report.broken() {
                writeln!(out, "BROKEN: {broken}")?;
            }
            // What was found is more than that nobody could be told.
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
    }
}

fn tell_repaired(repaired: &Repaired, out: &mut dyn Write) -> io::Result<()> {
    let Repaired { set_aside, newest, published, rewound } = repaired;
    for SetAside { broken, to, bytes, deltas, .. } in set_aside {
        writeln!(out, "{broken}")?;
        writeln!(out, "  set aside in {}: {bytes} bytes, {deltas} deltas", to.display())?;
    }
    for name in rewound {
        writeln!(
            out,
            "the endpoint {name} goes on from its acknowledged position; if that is lost too, all that \
             the journal holds is sent again"
        )?;
    }
    match newest {
        Some((sequence, _)) => writeln!(out, "counting goes on after delta {sequence}")?,
        None => writeln!(out, "no state is left: counting begins from zero")?,
    }
    if let Some(published) = published {
        writeln!(
            out,
            "deltas up to {published} had been published: counters fall back to where counting goes \
             on, and Prometheus takes that for a restart; what Kafka still has is counted again"
        )?;
    }
    Ok(())
}

/// Passes on what is written until that fails, and keeps why.
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
