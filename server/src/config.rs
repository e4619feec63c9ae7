//! Configuration: command line over environment over configuration file over defaults.
//!
//! The initial password is no setting: it comes from `NYALA_PASSWORD` alone, so that it shows up in no
//! process list and no file. Nothing but `main` reads this; other code is handed values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use nyala_catalog::object_stores::ObjectStores;
use serde::{Deserialize, Serialize};

/// Environment variable with the superuser's password, heeded at the first start only.
pub const PASSWORD_VARIABLE: &str = "NYALA_PASSWORD";

/// What the names of environment variables with options for S3 begin with.
const S3_VARIABLES: &str = "AWS_";

const PASSWORD_HELP: &str = "\
At the first start on a data directory the database `nyala` and the superuser `nyala` are created. \
The superuser's password is taken from the environment variable NYALA_PASSWORD; without it one is \
generated into DATA_DIR/initial_password, readable by the owner only. At later starts NYALA_PASSWORD \
is ignored.

Locations s3://BUCKET/PREFIX are accessed as the environment variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL and AWS_ALLOW_HTTP say, or the same names in lower case in the \
section [s3] of the configuration file.";

/// Less does not hold one batch of each operator.
const QUERY_MEMORY_MB_MIN: usize = 64;

/// Holds what the row store writes by itself after the last commit.
const DISK_RESERVE_MB: u64 = 256;

/// What a machine is taken to have that does not tell.
const MACHINE_MEMORY_MB: usize = 4_096;

/// Open and closed records under one table name, over the Postgres wire protocol.
#[derive(Debug, Parser)]
#[command(name = "nyala", version)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a data directory
    #[command(after_help = PASSWORD_HELP)]
    Serve(ServeFlags),
    /// Fill an empty data directory with demonstration data and serve it
    #[command(after_help = PASSWORD_HELP)]
    Demo(DemoFlags),
}

/// Flags of `nyala serve`; what is not given comes from the configuration file or the defaults.
#[derive(Debug, Default, Args, Serialize)]
pub struct ServeFlags {
    /// Directory with all data; created if missing [default: nyala-data, demo: nyala-demo-data]
    #[arg(long, env = "NYALA_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where closed tables, snapshots and restore points lie: s3://BUCKET/PREFIX or file:///PATH; settled when the database
    /// is made [default: the data directory]
    #[arg(long, env = "NYALA_COLUMNAR_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    columnar_url: Option<String>,
    /// Room on the data directory's disk that is left free: less, and commits fail with "disk full" [default: 256]
    #[arg(long, env = "NYALA_DISK_RESERVE_MB", value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_reserve_mb: Option<u64>,
    /// Address to listen on [default: 127.0.0.1:5433]
    #[arg(long, env = "NYALA_LISTEN", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// How clients prove who they are [default: scram, demo on a loopback address: trust]
    #[arg(long, env = "NYALA_AUTH", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Auth>,
    /// PEM file with the certificate chain; offers TLS
    #[arg(long, env = "NYALA_TLS_CERT", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, env = "NYALA_TLS_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    /// PEM file with the certificates that sign those of clients; a session then needs TLS and such a certificate
    #[arg(long, env = "NYALA_TLS_CLIENT_CA", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client_ca: Option<PathBuf>,
    /// Sessions at a time [default: 100]
    #[arg(long, env = "NYALA_MAX_CONNECTIONS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<usize>,
    /// Memory that all queries together may take; more goes to temporary files [default: half of the machine's]
    #[arg(long, env = "NYALA_QUERY_MEMORY_MB", value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    query_memory_mb: Option<usize>,
    /// What to log on stderr, as a tracing filter [default: info]
    #[arg(long, env = "NYALA_LOG", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// TOML file with the settings above (with underscores in their names)
    #[arg(long, env = "NYALA_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Flags of `nyala demo`.
#[derive(Debug, Args)]
pub struct DemoFlags {
    /// Size of the demonstration data
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub scale: f64,
    /// CSV file with the flights to load
    #[arg(long, value_name = "FILE")]
    pub flights: Option<PathBuf>,
    /// The flags of `serve`.
    #[command(flatten)]
    pub serve: ServeFlags,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// SCRAM-SHA-256
    Scram,
    /// A client certificate whose common name is the role's; needs --tls-client-ca
    Cert,
    /// No proof; only on a loopback address
    Trust,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory with all data.
    pub data_dir: PathBuf,
    /// Where columnar files lie, if not there.
    pub columnar_url: Option<String>,
    /// Options for S3.
    pub s3: S3Options,
    /// Room on the disk that is left free.
    pub disk_reserve_mb: u64,
    /// Address to listen on, as given.
    pub listen: String,
    /// How clients prove who they are, if anything says so.
    pub auth: Option<Auth>,
    /// Certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Private key.
    pub tls_key: Option<PathBuf>,
    /// Certificates that sign those of clients.
    pub tls_client_ca: Option<PathBuf>,
    /// Sessions at a time.
    pub max_connections: usize,
    /// Memory of all queries together.
    pub query_memory_mb: usize,
    /// Log filter.
    pub log: String,
}

impl Settings {
    /// Merges the flags (which carry the environment) over the configuration file over the defaults.
    pub fn load(flags: &ServeFlags, default_data_dir: &str) -> Result<Self, String> {
        let defaults = Self {
            data_dir: PathBuf::from(default_data_dir),
            columnar_url: None,
            s3: S3Options::default(),
            disk_reserve_mb: DISK_RESERVE_MB,
            listen: "127.0.0.1:5433".to_owned(),
            auth: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            max_connections: 100,
            query_memory_mb: machine_memory_mb() / 2,
            log: "warn,nyala=info,nyala_catalog=info".to_owned(),
        };
        let mut layers = Figment::from(Serialized::defaults(defaults));
        if let Some(file) = &flags.config {
            let text = std::fs::read_to_string(file).map_err(|error| {
                format!(
                    "cannot read the configuration file {}: {error}",
                    file.display()
                )
            })?;
            layers = layers.merge(Toml::string(&text));
        }
        let mut settings: Self = layers
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| format!("configuration: {error}"))?;
        settings.s3 = settings.s3.with_variables(std::env::vars())?;
        if settings.tls_cert.is_some() != settings.tls_key.is_some() {
            return Err("TLS needs both --tls-cert and --tls-key".to_owned());
        }
        if settings.tls_client_ca.is_some() && settings.tls_cert.is_none() {
            return Err("--tls-client-ca needs --tls-cert and --tls-key".to_owned());
        }
        if settings.auth == Some(Auth::Cert) && settings.tls_client_ca.is_none() {
            return Err("--auth cert needs --tls-client-ca".to_owned());
        }
        if settings.max_connections == 0 {
            return Err("max_connections must be at least 1".to_owned());
        }
        if settings.query_memory_mb < QUERY_MEMORY_MB_MIN {
            return Err(format!(
                "query_memory_mb must be at least {QUERY_MEMORY_MB_MIN}"
            ));
        }
        Ok(settings)
    }
}

/// Options for S3 by name; some are secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct S3Options(BTreeMap<String, String>);

impl S3Options {
    /// The options, each by its one name.
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.0
    }

    /// These options, and over them those of environment variables. Other `AWS_` variables are for other programs.
    fn with_variables(
        self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        for (name, value) in self.0 {
            let known = ObjectStores::option_name(&name);
            let known =
                known.ok_or_else(|| format!("configuration: unknown S3 option \"{name}\""))?;
            options.insert(known, value);
        }
        for (name, value) in variables {
            let option = name
                .starts_with(S3_VARIABLES)
                .then(|| ObjectStores::option_name(&name));
            if let Some(option) = option.flatten().filter(|_| !value.is_empty()) {
                options.insert(option, value);
            }
        }
        Ok(Self(options))
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Memory of the machine, or of the control group that the process is in.
fn machine_memory_mb() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|total| total.trim().strip_suffix(" kB")?.parse::<usize>().ok())
        .map(|kilobytes| kilobytes >> 10);
    // Without a limit the file says "max".
    let group = read("/sys/fs/cgroup/memory.max")
        .trim()
        .parse::<usize>()
        .ok()
        .map(|bytes| bytes >> 20);
    let known = machine.into_iter().chain(group).min();
    known.unwrap_or(MACHINE_MEMORY_MB)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Auth, Command, CommandLine, S3Options, ServeFlags, Settings};

    fn flags(arguments: &[&str]) -> ServeFlags {
        let line = CommandLine::parse_from([&["nyala", "serve"], arguments].concat());
        match line.command {
            Command::Serve(flags) => flags,
            Command::Demo(_) => panic!("not a demo"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let directory = std::env::temp_dir().join(format!("nyala-config-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("nyala.toml");
        let path = file.to_str().expect("UTF-8");
        std::fs::write(
            &file,
            "listen = '0.0.0.0:1'\nauth = 'trust'\nmax_connections = 7\n",
        )
        .expect("written");
        let settings = Settings::load(&flags(&["--config", path, "--listen", "[::1]:2"]), "d");
        let settings = settings.expect("valid");
        assert_eq!(
            (settings.listen.as_str(), settings.max_connections),
            ("[::1]:2", 7)
        );
        assert_eq!(
            (settings.auth, settings.data_dir.to_str()),
            (Some(Auth::Trust), Some("d"))
        );

        std::fs::write(&file, "max_connection = 7\n").expect("written");
        let error = Settings::load(&flags(&["--config", path]), "d").expect_err("a misspelt key");
        assert!(error.contains("max_connection"), "{error}");
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_secrets_stay_secret() {
        let file = [("region", "a"), ("secret_access_key", "hidden")];
        let file = file.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = [("AWS_REGION", "b"), ("AWS_PROFILE", "c"), ("HOME", "d")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = S3Options(file.into());
        let options = options
            .with_variables(variables.into_iter())
            .expect("valid");
        let shown = format!("{options:?}");
        assert!(!shown.contains("hidden"), "{shown}");
        let options = options.into_inner();
        assert_eq!(options.get("aws_region").map(String::as_str), Some("b"));
        assert_eq!(options.len(), 2);
        let wrong = S3Options([("regoin".to_owned(), "a".to_owned())].into());
        assert!(wrong.with_variables(std::iter::empty()).is_err());
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(Settings::load(&flags(&["--tls-cert", "c"]), "d").is_err());
        assert!(Settings::load(&flags(&["--tls-client-ca", "c"]), "d").is_err());
        assert!(Settings::load(&flags(&["--auth", "cert"]), "d").is_err());
        assert!(Settings::load(&flags(&["--max-connections", "0"]), "d").is_err());
        assert!(Settings::load(&flags(&["--query-memory-mb", "1"]), "d").is_err());
        let defaults = Settings::load(&flags(&[]), "d").expect("valid");
        assert!(defaults.query_memory_mb >= super::QUERY_MEMORY_MB_MIN);
    }
}
