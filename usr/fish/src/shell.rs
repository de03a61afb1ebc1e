//! Runs commands: asks the services, writes what they answer.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{future::Future, pin::Pin};

use capelin_interfaces::{
    console::ConsoleClient,
    memory::MemoryError,
    monitor::{CoreInfo, CoreState, DomainId, DomainInfo, DomainState, MonitorError, THIS_CORE},
    skb::Solution,
    system::KernelStats,
};
use capelin_rt::{Lmp, executor::yield_now, print, spawn};
use fish::{
    board,
    command::{self, Command},
    machine::Machine,
    plain::plain,
    report::{self, Accounts},
    spelling,
    usage::{self, COMMANDS},
};

use crate::{caps, failure::Failure, jobs::Jobs, services::Services};

/// Bytes of a kernel log that are shown.
const LOG_BYTES: u32 = 32 * 1024;
/// Bytes written at a time.
const CHUNK_BYTES: usize = 4096;
/// Lines of a list that are asked for at a time.
const PAGE: u32 = 500;
/// Nodes up to here are asked for, even if no core is there.
const MAX_NODES: u32 = 64;

/// How a command ended that didn't fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The shell goes on.
    Done,
    /// The machine is to be turned off.
    PowerOff,
    /// The machine is to be started again.
    Reboot,
}

/// What commands need.
pub(crate) struct Shell {
    core: u16,
    console: Option<ConsoleClient<Lmp>>,
    pub(crate) services: Services,
    /// Upcalls and uptime in microseconds of each core when it was last listed.
    seen: BTreeMap<u16, (u64, u64)>,
    /// The program being waited for.
    running: Option<DomainId>,
    /// A query that has more answers.
    cursor: Option<u64>,
    /// The programs that go on by themselves.
    pub(crate) jobs: Jobs,
}

impl Shell {
    /// Binds to the console; without one, text goes to the kernel's log.
    pub(crate) async fn start(core: u16) -> Self {
        Self {
            core,
            console: capelin_rt::services::console().await.ok(),
            services: Services::default(),
            seen: BTreeMap::new(),
            running: None,
            cursor: None,
            jobs: Jobs::default(),
        }
    }

    /// The console.
    pub(crate) fn console(&self) -> Option<ConsoleClient<Lmp>> {
        self.console.clone()
    }

    /// Writes text, with nothing in it that commands the terminal, and waits until the console has
    /// taken it.
    pub(crate) async fn write(&mut self, text: &str) {
        self.write_bytes(plain(text).as_bytes()).await;
    }

    /// Writes bytes as they are.
    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) {
        if let Some(console) = &self.console {
            let mut is_written = true;
            for chunk in bytes.chunks(CHUNK_BYTES) {
                if console.write(chunk).await.is_err() {
                    is_written = false;
                    break;
                }
            }
            if is_written {
                return;
            }
            self.console = None;
        }
        print::to_log(format_args!("{}", String::from_utf8_lossy(bytes)));
    }

    /// Tells why a command failed.
    pub(crate) async fn report(&mut self, failure: &Failure) {
        self.write(&format!("error: {failure}\n")).await;
        if failure.is_broken_binding() {
            self.services.forget();
        }
    }

    /// A command was given up: what it ran is ended.
    pub(crate) async fn interrupt(&mut self) {
        self.write("^C\n").await;
        // A query that hasn't answered yet makes room when the next ones need it.
        if let Some(cursor) = self.cursor.take()
            && let Ok(skb) = self.services.skb().await
        {
            let _ = skb.close(cursor).await;
        }
        if let Some(domain) = self.running.take()
            && let Ok(monitor) = self.services.monitor().await
            && monitor.kill(domain).await.is_ok()
        {
            // Its end is told to whoever waits first; nothing is to be done about an error.
            let _ = monitor.wait(domain).await;
        }
    }

    /// Turns the machine off or starts it again; returns when that fails.
    pub(crate) async fn end(&mut self, outcome: Outcome) {
        if let Some(console) = &self.console {
            // A console that fails here has nothing left to show.
            let _ = console.flush().await;
        }
        let result = match self.services.system().await {
            Ok(system) => match outcome {
                Outcome::Reboot => system.reboot().await,
                Outcome::Done | Outcome::PowerOff => system.power_off().await,
            }
            .map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            self.report(&failure).await;
        }
    }

    /// Runs one command.
    pub(crate) async fn run(&mut self, text: &str) -> Result<Outcome, Failure> {
        self.perform(command::parse(text)?).await
    }

    /// Runs `body` `count` times, or until the machine is to end; tells of each failure. On the heap,
    /// since repetitions hold each other.
    fn repeat(
        &mut self,
        count: u32,
        body: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + '_>> {
        Box::pin(async move {
            let mut failed = 0;
            for _ in 0..count {
                let mut is_sound = true;
                for command in &body {
                    match self.perform(command.clone()).await {
                        Ok(Outcome::Done) => {}
                        Ok(outcome) => return Ok(outcome),
                        Err(failure) => {
                            is_sound = false;
                            self.report(&failure).await;
                        }
                    }
                }
                failed += u32::from(!is_sound);
                // Ctrl-C is seen whatever the commands are.
                yield_now().await;
            }
            if failed > 0 {
                return Err(Failure::Rounds { failed, count });
            }
            Ok(Outcome::Done)
        })
    }

    async fn perform(&mut self, command: Command) -> Result<Outcome, Failure> {
        match command {
            Command::Repeat { count, body } => return self.repeat(count, body).await,
            Command::PowerOff => return Ok(Outcome::PowerOff),
            Command::Reboot => return Ok(Outcome::Reboot),
            Command::Help(topic) => self.help(topic).await?,
            Command::Echo(text) => self.write(&format!("{text}\n")).await,
            Command::Cores => self.cores().await?,
            Command::Devices => self.devices().await?,
            Command::Board => self.board().await?,
            Command::Temperature => {
                let temperature = self.services.firmware().await?.temperature().await?;
                self.write(&board::temperature(&temperature)).await;
            }
            Command::Random(bytes) => {
                let bytes = self.services.entropy().await?.get(bytes).await?;
                self.write(&report::hexadecimal(&bytes)).await;
            }
            Command::File(command) => self.file(command).await?,
            Command::Ps => self.domains().await?,
            Command::Mem => self.memory().await?,
            Command::Caps(domain) => self.capabilities(domain).await?,
            Command::Skb(goal) => self.query(&goal).await?,
            Command::Ping { core, rounds } => {
                let stats = self.services.monitor().await?.ping(core, rounds).await?;
                self.write(&report::ping(core, &stats)).await;
            }
            Command::Run {
                core,
                program,
                arguments,
                is_bare,
            } => {
                self.program(core, program, &arguments, is_bare).await?;
            }
            Command::Start {
                core,
                program,
                arguments,
            } => self.start_job(core, program, &arguments).await?,
            Command::Jobs => self.list_jobs().await?,
            Command::Wait(Some(target)) => {
                let domain = self.domain_of(target)?;
                self.wait_for(domain).await?;
            }
            Command::Wait(None) => self.wait_for_all().await?,
            Command::Kill(target) => {
                let domain = self.domain_of(target)?;
                self.services.monitor().await?.kill(domain).await?;
            }
            Command::Dmesg(core) => {
                let system = self.services.system().await?;
                let mut log = system
                    .kernel_log(core.unwrap_or(THIS_CORE), LOG_BYTES)
                    .await?;
                if !log.is_empty() && !log.ends_with('\n') {
                    log.push('\n');
                }
                self.write(&log).await;
            }
            Command::Modules => {
                let modules = self.services.system().await?.modules().await?;
                self.write(&report::modules(&modules)).await;
            }
            Command::Probe { core, address } => {
                let system = self.services.system().await?;
                let what = if system.probe(core, address).await? {
                    "faults"
                } else {
                    "succeeds"
                };
                self.write(&format!("core {core} reads {address:#x}: {what}\n"))
                    .await;
            }
            Command::KernelMap(core) => self.kernel_map(core).await?,
            Command::PanicCore(core) => {
                let system = self.services.system().await?;
                system.panic(core).await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn help(&mut self, topic: Option<String>) -> Result<(), Failure> {
        let text = match topic {
            None => report::help(),
            Some(name) => match usage::find(&name) {
                Some(usage) => report::help_for(usage),
                None => {
                    let hint = spelling::nearest(&name, COMMANDS.iter().map(|usage| usage.name));
                    return Err(Failure::NoHelp(name, hint));
                }
            },
        };
        self.write(&text).await;
        Ok(())
    }

    async fn cores(&mut self) -> Result<(), Failure> {
        let cores = self.services.monitor().await?.cores().await?;
        let system = self.services.system().await?;
        let (running, others): (Vec<_>, Vec<_>) =
            (cores.into_iter()).partition(|core| core.state == CoreState::Running);
        let (told, silent) = ask_each(running.clone(), move |core| {
            let system = system.clone();
            async move { system.kernel_stats(core).await }
        })
        .await;
        let mut lines: Vec<_> = others.into_iter().map(|core| (core, None)).collect();
        for core in running {
            let stats = told.iter().find(|(known, _)| known.core == core.core);
            let stats = stats.map(|(_, stats)| (*stats, self.upcall_rate(&core, stats)));
            lines.push((core, stats));
        }
        lines.sort_unstable_by_key(|(core, _)| core.core);
        self.write(&report::cores(&lines)).await;
        self.tell_silent(&silent).await;
        Ok(())
    }

    /// Says who didn't answer, and why.
    pub(crate) async fn tell_silent(&mut self, silent: &[(CoreInfo, Failure)]) {
        for (core, failure) in silent {
            self.write(&format!("core {}: {failure}\n", core.core))
                .await;
        }
    }

    /// Upcalls each second since the core was last listed, or since it started.
    fn upcall_rate(&mut self, core: &CoreInfo, stats: &KernelStats) -> u64 {
        let now = (stats.upcalls, stats.uptime_us);
        let (upcalls, uptime) = self.seen.insert(core.core, now).unwrap_or((0, 0));
        let made = stats.upcalls.saturating_sub(upcalls);
        let elapsed = stats.uptime_us.saturating_sub(uptime).max(1);
        u64::try_from(u128::from(made) * 1_000_000 / u128::from(elapsed)).unwrap_or(u64::MAX)
    }

    async fn running_cores(&mut self) -> Result<Vec<CoreInfo>, Failure> {
        let mut cores = self.services.monitor().await?.cores().await?;
        cores.retain(|core| core.state == CoreState::Running);
        Ok(cores)
    }

    /// The domains of all cores, and the cores that didn't answer.
    pub(crate) async fn all_domains(&mut self) -> Result<(Vec<DomainInfo>, Silent), Failure> {
        let monitor = self.services.monitor().await?;
        let cores = self.running_cores().await?;
        let (told, silent) = ask_each(cores, move |core| {
            let monitor = monitor.clone();
            async move { monitor.domains(core).await }
        })
        .await;
        let domains = told.into_iter().flat_map(|(_, domains)| domains);
        Ok((domains.collect(), silent))
    }

    async fn domains(&mut self) -> Result<(), Failure> {
        let (domains, silent) = self.all_domains().await?;
        self.write(&report::domains(&domains)).await;
        self.tell_silent(&silent).await;
        Ok(())
    }

    async fn memory(&mut self) -> Result<(), Failure> {
        let memory = self.services.memory().await?;
        let system = self.services.system().await?;
        let running = self.running_cores().await?;
        let (cores, silent) = ask_each(running, move |core| {
            let system = system.clone();
            async move { system.kernel_stats(core).await }
        })
        .await;
        let held = memory.held().await?;
        let machine = self.machine_memory().await;
        let last = cores.iter().map(|(core, _)| core.node).max().unwrap_or(0);
        let mut nodes = Vec::new();
        for node in 0..MAX_NODES.max(last.saturating_add(1)) {
            match memory.stats(node).await {
                Ok(stats) => nodes.push((node, stats)),
                Err(MemoryError::NoSuchNode) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let text = report::memory(&Accounts {
            nodes: &nodes,
            held: &held,
            cores: &cores,
            machine: machine.as_ref(),
        });
        self.write(&text).await;
        self.tell_silent(&silent).await;
        Ok(())
    }

    /// What memory the machine has; `None` when the knowledge base doesn't say.
    async fn machine_memory(&mut self) -> Option<Machine> {
        let mut machine = Machine::default();
        for found in self.all_solutions(Machine::MEMORY).await.ok()? {
            machine.add_memory(&found)?;
        }
        for found in self.all_solutions(Machine::RESERVED).await.ok()? {
            machine.add_reserved(&found)?;
        }
        Some(machine)
    }

    /// All solutions of `goal`, which are few.
    async fn all_solutions(&mut self, goal: &str) -> Result<Vec<Solution>, Failure> {
        let skb = self.services.skb().await?;
        let mut answer = skb.query(goal, 0).await?;
        let mut found = answer.solutions;
        loop {
            self.cursor = answer.cursor;
            let Some(cursor) = answer.cursor else {
                return Ok(found);
            };
            answer = skb.next(cursor, 0).await?;
            found.append(&mut answer.solutions);
        }
    }

    async fn capabilities(&mut self, domain: Option<String>) -> Result<(), Failure> {
        let Some(wanted) = domain else {
            self.write(&report::capabilities(&caps::own())).await;
            return Ok(());
        };
        let (domains, _) = self.all_domains().await?;
        let Some(domain) = domains
            .iter()
            .find(|domain| domain.id.to_string() == wanted || domain.name == wanted)
        else {
            return Err(Failure::NoSuchDomain(wanted));
        };
        let monitor = self.services.monitor().await?;
        let mut all = Vec::new();
        let mut first = 0;
        loop {
            let page = monitor.capabilities(domain.id, first, PAGE).await?;
            let Some(last) = page.last() else { break };
            // A monitor that goes back would keep us here for ever.
            let Some(next) = last.address.checked_add(1).filter(|next| *next > first) else {
                break;
            };
            first = next;
            all.extend(page);
        }
        self.write(&report::capabilities(&all)).await;
        Ok(())
    }

    async fn devices(&mut self) -> Result<(), Failure> {
        let devices = self.services.devices().await?;
        let mut all = Vec::new();
        loop {
            let first = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = devices.list(first, PAGE).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        self.write(&report::devices(&all)).await;
        Ok(())
    }

    async fn board(&mut self) -> Result<(), Failure> {
        let firmware = self.services.firmware().await?;
        let mut text = board::describe(&firmware.board().await?);
        for (clock, name) in board::CLOCKS {
            let rate = firmware.clock_hz(*clock).await;
            text.push_str(&board::clock(name, rate.map_err(Failure::from)?));
        }
        self.write(&text).await;
        Ok(())
    }

    async fn query(&mut self, goal: &str) -> Result<(), Failure> {
        let skb = self.services.skb().await?;
        let mut answer = skb.query(goal, 0).await?;
        let mut count = 0;
        loop {
            count += answer.solutions.len();
            let lines: String = answer.solutions.iter().map(report::solution).collect();
            self.write(&lines).await;
            self.cursor = answer.cursor;
            let Some(cursor) = answer.cursor else { break };
            answer = skb.next(cursor, 0).await?;
        }
        self.write(&report::solution_count(count)).await;
        Ok(())
    }

    /// Runs a program and waits for it.
    async fn program(
        &mut self,
        core: Option<u16>,
        program: String,
        arguments: &[String],
        is_bare: bool,
    ) -> Result<(), Failure> {
        let monitor = match self.services.monitor().await {
            Ok(monitor) => monitor,
            Err(failure) => {
                // Without a monitor no program can be run; it may be a mistyped command, though.
                let hint = spelling::nearest(&program, COMMANDS.iter().map(|usage| usage.name));
                return Err(match hint {
                    Some(hint) if is_bare => Failure::Unknown(program, Some(hint.into())),
                    _ => failure,
                });
            }
        };
        let domain = self.spawn_program(core, &program, arguments).await?;
        self.running = Some(domain);
        let state = monitor.wait(domain).await;
        self.running = None;
        match state? {
            DomainState::Exited(0) => Ok(()),
            state => Err(Failure::Ended(program, state)),
        }
    }

    /// Starts a program of the archive, on this core unless told otherwise, or of the card.
    pub(crate) async fn spawn_program(
        &mut self,
        core: Option<u16>,
        program: &str,
        arguments: &[String],
    ) -> Result<DomainId, Failure> {
        let monitor = self.services.monitor().await?;
        if !program.contains('/') {
            let wanted = core.unwrap_or(self.core);
            match monitor.spawn(wanted, program, arguments).await {
                Err(MonitorError::NoSuchProgram) if self.is_on_card(program).await => {}
                Err(MonitorError::NoSuchProgram) => return Err(self.unknown(program.into()).await),
                other => return Ok(other?),
            }
        } else if let Err(error) = self.services.files().await?.look_up(program).await {
            return Err(Failure::File(program.into(), error));
        }
        if core.is_some_and(|core| core != self.core) {
            return Err(Failure::ElsewhereOnly(program.into()));
        }
        Ok(monitor.spawn_file(program, arguments).await?)
    }

    /// Whether there is a file of this name at the top of the card.
    async fn is_on_card(&mut self, name: &str) -> bool {
        let Ok(card) = self.services.files().await else {
            return false;
        };
        let found = card.look_up(name).await;
        found.is_ok_and(|found| !found.is_folder)
    }

    /// There is no such command or program: what may have been meant?
    async fn unknown(&mut self, name: String) -> Failure {
        let modules = match self.services.system().await {
            Ok(system) => system.modules().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let commands = COMMANDS.iter().map(|usage| usage.name);
        let modules = modules.iter().map(|(name, _)| name.as_str());
        let hint = spelling::nearest(&name, commands.chain(modules)).map(String::from);
        Failure::Unknown(name, hint)
    }

    async fn kernel_map(&mut self, core: u16) -> Result<(), Failure> {
        let system = self.services.system().await?;
        let mut leaves = Vec::new();
        loop {
            let first = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
            let page = system.kernel_map(core, first, PAGE).await?;
            if page.is_empty() {
                break;
            }
            leaves.extend(page);
        }
        self.write(&report::kernel_map(&leaves)).await;
        Ok(())
    }
}

/// Cores that didn't answer, and what was said instead.
pub(crate) type Silent = Vec<(CoreInfo, Failure)>;

/// Cores that are asked at a time.
const ASKED_AT_ONCE: usize = 32;

/// Asks each core at the same time as others, so that those that don't answer are waited for
/// together: what was answered, by core, and who didn't.
async fn ask_each<T, E, F>(
    cores: Vec<CoreInfo>,
    ask: impl Fn(u16) -> F,
) -> (Vec<(CoreInfo, T)>, Silent)
where
    T: 'static,
    E: Into<Failure> + 'static,
    F: Future<Output = Result<T, E>> + 'static,
{
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    for some in cores.chunks(ASKED_AT_ONCE) {
        let asked: Vec<_> = some
            .iter()
            .map(|core| (*core, spawn(ask(core.core))))
            .collect();
        for (core, answer) in asked {
            match answer.await {
                Ok(answer) => told.push((core, answer)),
                Err(error) => silent.push((core, error.into())),
            }
        }
    }
    (told, silent)
}
