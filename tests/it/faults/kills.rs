//! kill -9 at any instant under load, or with an answer: of the server, and of PostgreSQL under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use sqlx::{Connection as _, Row as _};

use crate::harness::machine::until;
use crate::harness::{Backend, Client, Site, rounds};

use super::aim::{Aim, Target};
use super::chance::{Chance, Seed};
use super::device::Device;
use super::family::{Code, Family, Kind, Standing, heard};
use super::stage::{SOON, Stage};
use super::visit::{self, Leave, Visit};

/// How many use the server at once.
const WORKERS: usize = 6;
/// Families that a worker keeps from round to round: more grow old than are judged.
const KEPT: usize = 4;
/// What is still good to redeem after a restart (`[lifetimes] code` is a minute).
const CODE: Duration = Duration::from_secs(40);
/// How long a kill waits for the answer that it is aimed at.
const AIMED: Duration = Duration::from_millis(800);
/// Endings of a round that are judged: the last.
const ENDINGS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_was_acknowledged() {
    survive(Stage::set(Backend::Sqlite, false).await, rounds(20, 300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_what_was_acknowledged() {
    survive(Stage::set(Backend::Postgres, true).await, rounds(20, 300)).await;
}

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Server,
    Database,
    /// One of its processes, whereupon it throws everybody out and recovers.
    Backend,
    Both,
}

/// What a worker holds.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
    codes: Vec<Code>,
    visits: Vec<Visit>,
    devices: Vec<Device>,
    registered: Vec<Client>,
}

async fn survive(stage: Stage, rounds: usize) {
    let seed = Seed::pick();
    let mut chance = seed.chance();
    let stage = Arc::new(stage);
    let mut pages: Vec<Page> = (0..WORKERS).map(|_| Page::default()).collect();
    let mut server = Some(stage.machine.start(&["serve"]).await);
    let (mut ended, mut doubts, mut seen) = (0, 0, (0, 0));
    let mut targets = Target::ALL.into_iter().cycle();
    let begun = Instant::now();
    for round in 0..rounds {
        let blow = match chance.below(8) {
            0 if stage.cluster.is_some() => Blow::Database,
            1 if stage.cluster.is_some() => Blow::Backend,
            2 if stage.cluster.is_some() => Blow::Both,
            _ => Blow::Server,
        };
        let site = stage.machine.site();
        if blow != Blow::Server {
            site.may_fail();
        }
        // In three of four rounds the kill comes with an answer. For whatever else is going on that is any instant.
        let aim = Arc::new(match (&server, blow) {
            (Some(server), Blow::Server | Blow::Both) if !chance.once_in(4) => {
                Aim::at(targets.next().unwrap(), 1 + chance.below(2), server.pid())
            }
            (Some(_) | None, _) => Aim::default(),
        });
        let over = Arc::new(AtomicBool::new(false));
        let working: Vec<_> = pages
            .into_iter()
            .map(|page| tokio::spawn(work(stage.clone(), site.clone(), page, chance.fork(), over.clone())))
            .collect();
        let visiting = tokio::spawn(receive(stage.clone(), site.clone(), aim.clone(), chance.fork(), over.clone()));
        let leaving = tokio::spawn(leave(stage.clone(), site.clone(), aim.clone(), chance.fork(), over.clone()));
        let devices = tokio::spawn(let_in(stage.clone(), site.clone(), aim.clone(), chance.fork(), over.clone()));
        match aim.target() {
            Some(_) => aim.wait(AIMED).await,
            None => tokio::time::sleep(chance.millis(20, 350)).await,
        }
        match blow {
            Blow::Server => drop(server.take()),
            Blow::Database => {
                kill_database(&stage).await;
                tokio::time::sleep(chance.millis(0, 100)).await;
                restart_database(&stage).await;
            }
            Blow::Backend => {
                kill_backend(&stage).await;
                tokio::time::sleep(chance.millis(0, 100)).await;
            }
            Blow::Both => {
                if aim.target().is_some() {
                    drop(server.take());
                }
                kill_database(&stage).await;
                drop(server.take());
                restart_database(&stage).await;
            }
        }
        over.store(true, Ordering::Relaxed);
        pages = Vec::new();
        for worker in working {
            pages.push(worker.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())));
        }
        for task in [visiting, leaving, devices] {
            pages.push(task.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())));
        }
        let latest = pages.iter().skip(WORKERS).map(|page| (page.visits.len(), page.devices.len() + page.families.len()));
        seen = latest.fold(seen, |(visits, devices), page| (visits + page.0, devices + page.1));
        doubts += pages.iter().flat_map(|page| &page.families).filter(|family| family.is_doubtful()).count();

        if blow == Blow::Database || blow == Blow::Backend {
            // The server is the same, and heals by itself.
            let back = stage.machine.site();
            back.may_fail();
            until(SOON, async || stage.code(&back, Kind::Recover).await.is_some()).await;
        } else {
            // No repair: it starts, and is ready.
            server = Some(stage.machine.start(&["serve"]).await);
        }
        let site = stage.machine.site();
        for page in &mut pages {
            for family in &mut page.families {
                family.go_to(&site);
            }
            for code in &mut page.codes {
                code.go_to(&site);
            }
        }
        let token = stage.admin_token().await;
        let judged: Vec<_> = pages.into_iter().map(|page| judge(&site, &token, page, chance.fork())).collect();
        pages = stream::iter(judged).buffered(WORKERS).collect().await;
        // The visitors' pages and that of the devices are new in each round.
        pages.truncate(WORKERS);
        ended += pages.iter().flat_map(|page| &page.families).filter(|family| family.standing == Standing::Ended).count();
        for page in &mut pages {
            page.families.retain(|family| family.standing == Standing::Live);
        }
        if round % 5 == 4 || round + 1 == rounds {
            stage.examine().await;
        }
        if (round + 1) % 25 == 0 {
            println!("{} of {rounds} rounds on {}", round + 1, stage.machine.database_url().split(':').next().unwrap());
        }
    }
    println!(
        "{rounds} rounds of {:?}, {ended} families ended, {doubts} in doubt, {} visits, {} devices",
        begun.elapsed() / u32::try_from(rounds).unwrap(),
        seen.0,
        seen.1
    );
    // It was a test of something.
    assert!(ended > rounds && doubts > rounds / 2, "{ended} families ended, {doubts} answers lost in {rounds} rounds");
}

async fn kill_database(stage: &Arc<Stage>) {
    let stage = stage.clone();
    tokio::task::spawn_blocking(move || stage.cluster.as_ref().unwrap().kill()).await.unwrap();
}

/// SIGKILL for one of the processes that serve us.
async fn kill_backend(stage: &Arc<Stage>) {
    let mut connection = sqlx::PgConnection::connect(&stage.machine.database_url()).await.unwrap();
    let ours =
        sqlx::query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1");
    let pid: i32 = ours.fetch_one(&mut connection).await.unwrap().get("pid");
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

async fn restart_database(stage: &Arc<Stage>) {
    let stage = stage.clone();
    tokio::task::spawn_blocking(move || stage.cluster.as_ref().unwrap().restart()).await.unwrap();
}

async fn work(stage: Arc<Stage>, site: Arc<Site>, mut page: Page, mut chance: Chance, over: Arc<AtomicBool>) -> Page {
    for family in &mut page.families {
        family.go_to(&site);
    }
    while !over.load(Ordering::Relaxed) {
        let answered = if page.families.is_empty() || chance.once_in(if page.families.len() < 2 * KEPT { 5 } else { 50 }) {
            begin(&stage, &site, &mut page, &mut chance).await
        } else {
            let index = chance.below(page.families.len());
            page.families[index].act(&mut chance).await
        };
        if !answered {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    page
}

/// People who come for the first time, to an application that has just been registered.
async fn receive(stage: Arc<Stage>, site: Arc<Site>, aim: Arc<Aim>, mut chance: Chance, over: Arc<AtomicBool>) -> Page {
    let mut page = Page::default();
    let token = stage.admin.through(site.clone()).try_call("/token", &[("grant_type", "client_credentials")]).await;
    let Some(token) = heard(token).map(|answer| answer.ok().str("access_token")) else { return page };
    while !over.load(Ordering::Relaxed) {
        let Some(client) = visit::register(&site, &token).await else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        page.registered.push(client.clone());
        let mut visit = Visit::new(client, &stage.admin, &stage.alice);
        let other = stage.alice.browser.through(site.clone());
        let leave = match chance.below(6) {
            0 | 1 => Leave::SignOut,
            2 => Leave::EndedFrom(&other),
            3 => Leave::TakenBack,
            _ => Leave::Stay,
        };
        visit.go(leave, &aim).await;
        page.visits.push(visit);
    }
    page
}

/// People who come to go: two at once sign in, and their sessions are ended; or one who stays signed in takes back what they allowed.
async fn leave(stage: Arc<Stage>, site: Arc<Site>, aim: Arc<Aim>, mut chance: Chance, over: Arc<AtomicBool>) -> Page {
    let mut page = Page::default();
    let wanted = aim.target().filter(|target| *target != Target::Fetched).unwrap_or_else(|| *chance.pick(&Target::ALL[..3]));
    while !over.load(Ordering::Relaxed) {
        if wanted == Target::TakenBack {
            let mut visit = Visit::of_signed_in(stage.guest.through(site.clone()), &stage.admin, &stage.alice);
            if !visit.go(Leave::TakenBack, &aim).await {
                // Whether the consent still stands is for the judge to ask, and only of the last visit.
                page.visits.push(visit);
                break;
            }
            page.families.extend(visit.family);
        } else {
            let other = stage.alice.browser.through(site.clone());
            let leave = || if wanted == Target::SignedOut { Leave::SignOut } else { Leave::EndedFrom(&other) };
            let visit = || Visit::again(stage.house.through(site.clone()), &stage.admin, &stage.alice);
            let (mut one, mut two) = (visit(), visit());
            let (done, too) = tokio::join!(one.go(leave(), &aim), two.go(leave(), &aim));
            page.visits.extend([one, two]);
            if !(done || too) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        page.visits.drain(..page.visits.len().saturating_sub(ENDINGS));
        page.families.drain(..page.families.len().saturating_sub(ENDINGS));
    }
    page
}

/// Devices that a person lets in, two at once: both answers write the same consent.
async fn let_in(stage: Arc<Stage>, site: Arc<Site>, aim: Arc<Aim>, mut chance: Chance, over: Arc<AtomicBool>) -> Page {
    let mut page = Page::default();
    while !over.load(Ordering::Relaxed) {
        let client = chance.pick(&stage.devices);
        let (one, two) = tokio::join!(Device::begin(&stage, &site, client), Device::begin(&stage, &site, client));
        let (Some(mut one), Some(mut two)) = (one, two) else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        tokio::join!(one.allow(&stage, &site), two.allow(&stage, &site));
        for device in [one, two] {
            let code = match device.allowed() {
                Ok(code) => code,
                Err(device) => {
                    page.devices.push(*device);
                    continue;
                }
            };
            // Some fetch their tokens only after the restart.
            if chance.once_in(3) {
                page.codes.push(code);
                continue;
            }
            match code.redeem_at_once(1 + chance.below(4)).await {
                Ok(family) => {
                    aim.seen(Target::Fetched);
                    page.families.push(family);
                }
                Err(code) => page.codes.extend(code),
            }
        }
    }
    page
}

/// A sign-in: a code, and most often its redemption.
async fn begin(stage: &Stage, site: &Arc<Site>, page: &mut Page, chance: &mut Chance) -> bool {
    let kind = *chance.pick(&[Kind::Recover, Kind::Public, Kind::Strict]);
    let Some(mut code) = stage.code(site, kind).await else { return false };
    code.go_to(site);
    if chance.once_in(5) {
        page.codes.push(code);
        return true;
    }
    match code.redeem_at_once(if chance.once_in(4) { 3 } else { 1 }).await {
        Ok(family) => page.families.push(family),
        Err(code) => {
            page.codes.extend(code);
            return false;
        }
    }
    true
}

/// After the restart: what was acknowledged stands.
async fn judge(site: &Arc<Site>, token: &str, mut page: Page, mut chance: Chance) -> Page {
    for client in page.registered.drain(..) {
        assert!(visit::is_registered(site, token, &client).await, "an application that was registered is gone");
    }
    for mut visit in page.visits.drain(..) {
        visit.settle(site).await;
        page.families.extend(visit.family);
    }
    for device in page.devices.drain(..) {
        page.families.extend(device.settle(site).await);
    }
    for code in std::mem::take(&mut page.codes) {
        if code.issued.elapsed() > CODE {
            continue;
        }
        if let Ok(family) = code.redeem_at_once(1).await {
            page.families.push(family);
        }
    }
    for family in &mut page.families {
        family.settle().await;
    }
    // Some go on into the next round as they are; of the others everything is presented again.
    let mut young = 0;
    for family in &mut page.families {
        if family.standing == Standing::Live && young < KEPT && !chance.once_in(3) {
            young += 1;
            continue;
        }
        match family.code.take() {
            Some(code) if family.is_short() || chance.once_in(3) => {
                family.replay(&code).await;
                family.settle().await;
            }
            _ => family.present_all().await,
        }
    }
    page
}
