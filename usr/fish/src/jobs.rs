//! Programs that go on by themselves.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use capelin_interfaces::monitor::{DomainId, DomainState};
use fish::{command::Target, report};

use crate::{failure::Failure, shell::Shell};

/// A program that was started and isn't waited for.
#[derive(Clone)]
struct Job {
    number: u32,
    domain: DomainId,
    program: String,
}

/// The jobs of a shell, in the order in which they were started.
#[derive(Default)]
pub(crate) struct Jobs {
    list: Vec<Job>,
    /// The number of the last one.
    last: u32,
}

impl Jobs {
    /// Adds a domain that runs `program`; its number.
    fn add(&mut self, domain: DomainId, program: String) -> u32 {
        self.last += 1;
        self.list.push(Job {
            number: self.last,
            domain,
            program,
        });
        self.last
    }

    fn domain(&self, number: u32) -> Option<DomainId> {
        let job = self.list.iter().find(|job| job.number == number)?;
        Some(job.domain)
    }

    /// The job that `domain` was, which is none any more.
    fn remove(&mut self, domain: DomainId) -> Option<Job> {
        let index = self.list.iter().position(|job| job.domain == domain)?;
        Some(self.list.remove(index))
    }
}

impl Shell {
    /// Starts a program and tells its number.
    pub(crate) async fn start_job(
        &mut self,
        core: Option<u16>,
        program: String,
        arguments: &[String],
    ) -> Result<(), Failure> {
        let domain = self.spawn_program(core, &program, arguments).await?;
        let number = self.jobs.add(domain, program);
        self.write(&format!("[{number}] {domain}\n")).await;
        Ok(())
    }

    /// Lists the jobs, with what has become of each.
    pub(crate) async fn list_jobs(&mut self) -> Result<(), Failure> {
        let (domains, silent) = self.all_domains().await?;
        let state = |job: &Job| domains.iter().find(|one| one.id == job.domain);
        let jobs = self.jobs.list.iter();
        let lines: Vec<_> = jobs
            .map(|job| (job.number, job.domain, job.program.as_str(), state(job)))
            .collect();
        let text = report::jobs(&lines);
        self.write(&text).await;
        self.tell_silent(&silent).await;
        Ok(())
    }

    /// The domain that is meant.
    pub(crate) fn domain_of(&self, target: Target) -> Result<DomainId, Failure> {
        match target {
            Target::Domain(core, number) => Ok(DomainId::new(core, number)),
            Target::Job(number) => {
                let domain = self.jobs.domain(number);
                domain.ok_or(Failure::NoSuchJob(number))
            }
        }
    }

    /// Waits for a domain, which is no job any more then.
    pub(crate) async fn wait_for(&mut self, domain: DomainId) -> Result<(), Failure> {
        let monitor = self.services.monitor().await?;
        let state = monitor.wait(domain).await;
        let job = self.jobs.remove(domain);
        match state? {
            DomainState::Exited(0) => Ok(()),
            state => {
                let name = job.map_or_else(|| domain.to_string(), |job| job.program);
                Err(Failure::Ended(name, state))
            }
        }
    }

    /// Waits for all jobs; tells of each that didn't end well.
    pub(crate) async fn wait_for_all(&mut self) -> Result<(), Failure> {
        let (mut failed, count) = (0, self.jobs.list.len());
        while let Some(domain) = self.jobs.list.first().map(|job| job.domain) {
            if let Err(failure) = self.wait_for(domain).await {
                failed += 1;
                self.report(&failure).await;
                // One that couldn't be waited for isn't tried for ever.
                self.jobs.remove(domain);
            }
        }
        match failed {
            0 => Ok(()),
            failed => Err(Failure::Jobs { failed, count }),
        }
    }
}
