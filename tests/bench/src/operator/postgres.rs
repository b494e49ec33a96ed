//! `postgres`: databases and roles that the operator sets up on a real PostgreSQL, against the bare SQL: the statements that
//! it executed, read from the server's log, executed again under other names by as many sessions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tenantry_harness::postgres::{ADMIN, PostgresOptions, PostgresServer, StopMode};

use crate::operator::options::Options;
use crate::operator::platform::{Platform, SLOTS, group, names};
use crate::report::Report;

const CLASS_WITH_A_DATABASE: &str = "real";
/// Sessions of the operator, by its default.
const SESSIONS: usize = 8;
/// The last statement of a slot's set-up.
const LAST: &str = "ALTER DEFAULT PRIVILEGES";
const DEADLINE: Duration = Duration::from_secs(300);

/// A statement of the log: when, in which database, and its text.
struct Logged {
    at: f64,
    database: String,
    text: String,
}

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let platform = Platform::start(&options.operator).await?;
    // As in production, what was committed is on disk.
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..PostgresOptions::default() }).await?;
    let log = prepare(&server).await?;
    platform.write_login(ADMIN, &server.admin().password).await?;
    platform.offer_class(CLASS_WITH_A_DATABASE, server.port()).await?;
    // Everything else is made first, so that only the databases are missing: as when a server comes back.
    server.stop(StopMode::Fast).await?;
    let operator = platform.start_operator().await?;
    let count = options.databases.div_ceil(SLOTS.len());
    let groups = names("bench", 0..count).into_iter().map(|name| {
        let mut group = group(&name);
        group["spec"]["classRef"]["name"] = CLASS_WITH_A_DATABASE.into();
        group
    });
    platform.apply_groups(groups.collect()).await?;
    platform.wait_until_still().await.or_else(|error| {
        // A back-off may still be reported now and then.
        report.note(&format!("{error:#}"));
        Ok::<_, anyhow::Error>(())
    })?;
    operator.stop().await?;
    server.start_again().await?;
    let from = std::fs::metadata(&log)?.len();
    let operator = platform.start_operator().await?;
    let wanted = count * SLOTS.len();
    let logged = wait_for(&log, from, wanted).await?;
    operator.stop().await?;
    let changes: Vec<&Logged> = logged.iter().filter(|logged| changes_something(&logged.text)).collect();
    let (first, last) = (changes.first().context("no statement")?.at, changes.last().context("no statement")?.at);
    let rate = wanted as f64 / (last - first);
    let bare = bare(&server, &changes).await?;
    report.figure("databases set up by the operator", wanted as f64, "");
    report.figure("statements of one database", changes.len() as f64 / wanted as f64, "");
    report.figure("operator's rate of databases", rate, "databases/s");
    report.figure("bare SQL's rate of databases", bare, "databases/s");
    report.figure("ratio of databases", rate / bare, "");
    report.goal("postgres", rate / bare >= 0.8);
    Ok(())
}

/// Gives the admin login what it needs, and has the server log every statement; gives the log's path.
async fn prepare(server: &PostgresServer) -> Result<PathBuf> {
    let mut superuser = server.connect().await?;
    for statement in [
        format!("ALTER DATABASE postgres OWNER TO {ADMIN}"),
        format!("ALTER DATABASE template1 OWNER TO {ADMIN}"),
        "ALTER SYSTEM SET log_statement = 'all'".to_owned(),
        "ALTER SYSTEM SET log_line_prefix = '%n|%d|%u|'".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        superuser.execute(AssertSqlSafe(statement)).await?;
    }
    let data: String = sqlx::query_scalar("SELECT current_setting('data_directory')").fetch_one(&mut superuser).await?;
    superuser.close().await?;
    Ok(PathBuf::from(data).parent().context("the data directory is in none")?.join("log"))
}

async fn wait_for(log: &PathBuf, from: u64, databases: usize) -> Result<Vec<Logged>> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read(log)?;
        let text = String::from_utf8_lossy(text.get(usize::try_from(from)?..).unwrap_or_default()).into_owned();
        let logged = statements(&text);
        if logged.iter().filter(|logged| logged.text.contains(LAST)).count() >= databases {
            return Ok(logged);
        }
        ensure!(begun.elapsed() < DEADLINE, "only {} statements in {DEADLINE:?}", logged.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The admin login's statements in a log, whose further lines begin with a tab.
fn statements(log: &str) -> Vec<Logged> {
    let mut found: Vec<Logged> = Vec::new();
    // A question, which goes by the extended protocol, has further lines too.
    let mut is_statement = false;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some(last) = found.last_mut().filter(|_| is_statement) {
                last.text.push('\n');
                last.text.push_str(more);
            }
            continue;
        }
        is_statement = false;
        let mut parts = line.splitn(4, '|');
        let (Some(at), Some(database), Some(user), Some(rest)) = (parts.next(), parts.next(), parts.next(), parts.next()) else { continue };
        let text = rest.trim_start().strip_prefix("LOG:").map(str::trim_start).and_then(|rest| rest.strip_prefix("statement: "));
        if let (Ok(at), Some(text), ADMIN) = (at.parse(), text, user) {
            found.push(Logged { at, database: database.to_owned(), text: text.to_owned() });
            is_statement = true;
        }
    }
    found
}

fn changes_something(statement: &str) -> bool {
    ["CREATE", "ALTER", "GRANT", "REVOKE", "COMMENT"].iter().any(|verb| statement.trim_start().starts_with(verb))
}

/// Executes the statements again, each slot's under another name, in as many sessions; gives databases a second.
async fn bare(server: &PostgresServer, changes: &[&Logged]) -> Result<f64> {
    let mut slots: BTreeMap<String, Vec<(bool, String)>> = BTreeMap::new();
    for logged in changes {
        let Some(name) = database_of(logged) else { continue };
        let renamed = logged.text.replace(&name, &format!("u{}", &name[1..]));
        slots.entry(name.clone()).or_default().push((logged.database == name, renamed));
    }
    let slots: Vec<(String, Vec<(bool, String)>)> = slots.into_iter().collect();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let session = || async {
        let mut outside = PgConnection::connect(&server.url_of(server.admin(), "postgres")).await?;
        while let Some((name, statements)) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut inside: Option<PgConnection> = None;
            for (is_inside, statement) in statements {
                let statement = sqlx::raw_sql(AssertSqlSafe(statement.clone()));
                if *is_inside {
                    if inside.is_none() {
                        inside = Some(PgConnection::connect(&server.url_of(server.admin(), &format!("u{}", &name[1..]))).await?);
                    }
                    statement.execute(inside.as_mut().context("no session")?).await?;
                } else {
                    statement.execute(&mut outside).await?;
                }
            }
            if let Some(inside) = inside {
                inside.close().await?;
            }
        }
        outside.close().await?;
        Ok::<_, anyhow::Error>(())
    };
    try_join_all((0..SESSIONS).map(|_| session())).await?;
    Ok(slots.len() as f64 / begun.elapsed().as_secs_f64())
}

/// The slot's database that a statement is about: the one that it is executed in, or whose name begins a name in it.
fn database_of(logged: &Logged) -> Option<String> {
    let is_slots = |name: &str| name.len() > 12 && name.starts_with('t') && name[1..].bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_slots(&logged.database) && logged.database != "template1" {
        return Some(logged.database.clone());
    }
    let mut words = logged.text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.find_map(|word| {
        let name = word.split('_').next()?;
        (is_slots(name) && name != "template0" && name != "template1" && name != "tenantry").then(|| name.to_owned())
    })
}
