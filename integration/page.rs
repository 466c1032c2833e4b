//! The status page in a real browser, on the real binary, a real RabbitMQ and real partners: what it
//! shows changes by itself, what its buttons do is seen at the partner, and nothing of it needs
//! anything but its own origin.
//!
//! Pictures of it are written where `LOCKGATE_TEST_PICTURES` names a folder, else into the test's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::browser::{Browser, ENTER, ESCAPE, TAB};
use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, place};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);
const TOKEN: &str = "a-token-for-tests";
/// An endpoint whose breaker opens at the second failure and asks again every second.
const QUICK: &str = "retry = { schedule = [\"1s\"] }\n\
                     breaker = { failures = 2, open = \"1s\", open_max = \"1s\" }\n";

/// A REST endpoint that takes events of this type.
fn rest(name: &str, event_type: &str, url: &str) -> String {
    format!(
        "[endpoints.{name}]\nevents = [\"{event_type}/*\"]\n{QUICK}\
         [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
    )
}

/// A bridge with a platform before it and a browser on its page.
struct Stage {
    lockgate: Lockgate,
    browser: Browser,
    platform: Client,
    folder: TempDir,
}

impl Stage {
    async fn set(endpoints: &str) -> Self {
        let stage = Self::set_with(endpoints, &[]).await;
        stage.browser.open(&stage.lockgate.url("/")).await;
        stage.live().await;
        stage
    }

    async fn set_with(endpoints: &str, more: &[(&str, String)]) -> Self {
        let place = place();
        let folder = tempfile::tempdir().unwrap();
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"platform\", type = \"topic\", routing_key = \"#\" }}]\n\
             {endpoints}",
            place.url
        );
        let configuration = Configuration::write(folder.path(), &toml);
        let lockgate = Lockgate::start_with(&configuration, more);
        let browser = Browser::start().await;
        lockgate.ready().await;
        let platform = Client::connect(&place.url).await;
        Self { lockgate, browser, platform, folder }
    }

    /// Waits until the page has numbers.
    async fn live(&self) {
        self.shows("live_text", "Live").await;
    }

    /// Events of one type with these ids.
    async fn send(&self, event_type: &str, ids: impl IntoIterator<Item = String>) {
        let bodies = ids.into_iter().map(|id| {
            let body = json!({ "event_id": id, "event_type": event_type, "event_trigger": "t" });
            body.to_string().into_bytes()
        });
        self.platform.publish_all("platform", "k", bodies).await;
    }

    /// The text of a part of the page outside the cards; `None` while it is not there or hidden.
    async fn part(&self, part: &str) -> Option<String> {
        let script = "const node = document.querySelector(`[data-f=${arguments[0]}]`); \
             return node && node.checkVisibility() ? node.textContent : null";
        let text = self.browser.script(script, json!([part])).await;
        text.as_str().map(str::to_owned)
    }

    /// The same of a card.
    async fn card(&self, endpoint: &str, part: &str) -> Option<String> {
        let script = "const named = (card) => card.querySelector('[data-f=name]').textContent; \
             const cards = [...document.querySelectorAll('.card')]; \
             const card = cards.find((card) => named(card) === arguments[0]); \
             const node = card?.querySelector(`[data-f=${arguments[1]}]`); \
             return node && node.checkVisibility() ? node.textContent : null";
        let text = self.browser.script(script, json!([endpoint, part])).await;
        text.as_str().map(str::to_owned)
    }

    /// Waits until a part of the page has this in it.
    async fn shows(&self, part: &str, text: &str) {
        let what = format!("{part} shows {text:?}");
        eventually(&what, DEADLINE, || async {
            self.part(part).await.filter(|found| found.contains(text))
        })
        .await;
    }

    /// Waits until a part of a card has this in it.
    async fn card_shows(&self, endpoint: &str, part: &str, text: &str) {
        let what = format!("{part} of {endpoint} shows {text:?}");
        eventually(&what, DEADLINE, || async {
            self.card(endpoint, part).await.filter(|found| found.contains(text))
        })
        .await;
    }

    async fn title_says(&self, text: &str) {
        eventually(&format!("the title says {text:?}"), DEADLINE, || async {
            let title = self.browser.script("return document.title", json!([])).await;
            title.as_str().unwrap().contains(text).then_some(())
        })
        .await;
    }

    /// Waits until this endpoint's card comes first: the list keeps still under a hand.
    async fn first_is(&self, endpoint: &str) {
        let script = "return document.querySelector('.card [data-f=name]').textContent";
        eventually(&format!("{endpoint} comes first"), DEADLINE, || async {
            (self.browser.script(script, json!([])).await == json!(endpoint)).then_some(())
        })
        .await;
    }

    /// Clicks a button of a card.
    async fn click(&self, endpoint: &str, button: &str) {
        self.browser
            .click(&format!(
                "//li[.//*[@data-f='name' and .='{endpoint}']]//button[@data-f='{button}']"
            ))
            .await;
    }

    /// Waits until a card's counters have this in them, unfolded by a click.
    async fn counts(&self, endpoint: &str, text: &str) {
        let card = format!("//li[.//*[@data-f='name' and .='{endpoint}']]");
        self.browser.click(&format!("{card}//summary")).await;
        self.card_shows(endpoint, "sum", text).await;
    }

    /// Clicks a button of the open dialog.
    async fn click_in(&self, dialog: &str, button: &str) {
        self.browser.click(&format!("//dialog[@id='{dialog}']//button[@data-f='{button}']")).await;
    }

    /// Waits until an open dialog has this in it; returns all its text.
    async fn dialog_shows(&self, dialog: &str, text: &str) -> String {
        let script = "const box = document.getElementById(arguments[0]); \
             return box.open ? box.innerText : null";
        eventually(&format!("dialog {dialog} shows {text:?}"), DEADLINE, || async {
            let found = self.browser.script(script, json!([dialog])).await;
            found.as_str().filter(|found| found.contains(text)).map(str::to_owned)
        })
        .await
    }

    async fn dialog_is_open(&self, dialog: &str) -> bool {
        let script = "return document.getElementById(arguments[0]).open";
        self.browser.script(script, json!([dialog])).await == json!(true)
    }

    /// What has the focus: its `aria-label`, else its text.
    async fn focus(&self) -> String {
        let script = "const a = document.activeElement; \
             return a.getAttribute('aria-label') ?? a.textContent";
        self.browser.script(script, json!([])).await.as_str().unwrap().to_owned()
    }

    /// Presses Tab until this has the focus.
    async fn tab_to(&self, label: &str) {
        for _ in 0..100 {
            if self.focus().await == label {
                return;
            }
            self.browser.press(TAB).await;
        }
        panic!("Tab never comes to {label:?}");
    }

    /// Nothing lies beyond the window's edge.
    async fn fits(&self, what: &str) {
        let script = "const root = document.documentElement; \
             return [root.scrollWidth, root.clientWidth]";
        let width = self.browser.script(script, json!([])).await;
        assert!(width[0].as_u64() <= width[1].as_u64(), "{what}: {width}");
    }

    /// The browser complained of nothing and asked nobody but the bridge.
    async fn kept_to_itself(&self) {
        assert_eq!(self.browser.console().await, Vec::<String>::new());
        let own = self.lockgate.url("/");
        let requests = self.browser.requests().await;
        assert!(requests.iter().any(|url| url.ends_with("/api/stream")), "{requests:?}");
        let foreign: Vec<_> = requests.iter().filter(|url| !url.starts_with(&own)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }

    fn pictures(&self) -> PathBuf {
        let named = std::env::var("LOCKGATE_TEST_PICTURES").map(PathBuf::from);
        named.unwrap_or_else(|_| self.folder.path().to_owned())
    }
}

fn ids(prefix: &str, number: usize) -> Vec<String> {
    (0..number).map(|n| format!("{prefix}-{n}")).collect()
}

/// The events that a partner has got, once each, in order.
fn events(server: &HttpServer) -> Vec<String> {
    let id = |request: &super::support::http::Request| {
        request.header("x-request-id").unwrap().to_owned()
    };
    let mut found: Vec<String> = server.received().iter().map(id).collect();
    found.sort();
    found.dedup();
    found
}

async fn arrive(server: &HttpServer, wanted: Vec<String>) {
    let what = format!("{wanted:?} arrive");
    eventually(&what, DEADLINE, || async { (events(server) == wanted).then_some(()) }).await;
}

#[test]
fn states_change_by_themselves_and_a_focused_button_stays_where_it_is() {
    on_system(async {
        let (erp, hook) = (HttpServer::start(), HttpServer::start());
        hook.answer(|_| Answer::status(503));
        let broker = Mosquitto::start().await;
        let scada = format!(
            "[endpoints.scada]\nevents = [\"Gamma/*\"]\n[endpoints.scada.mqtt]\nurl = \"{}\"\n\
             username = \"{USER}\"\npassword = \"{PASSWORD}\"\n",
            broker.url("mqtt")
        );
        let endpoints =
            [rest("erp", "Alpha", &erp.url("/")), rest("hook", "Beta", &hook.url("/")), scada];
        let stage = Stage::set(&endpoints.concat()).await;
        stage.browser.script("window.sameDocument = true", json!([])).await;
        for event_type in ["Alpha", "Beta", "Gamma"] {
            stage.send(event_type, ids(event_type, 3)).await;
        }
        stage.card_shows("hook", "state", "open").await;
        stage.card_shows("hook", "error", "503").await;
        stage.shows("verdict", "1 of 3 endpoints needs attention: hook open since").await;
        stage.title_says("hook open").await;
        stage.card_shows("erp", "state", "healthy").await;
        stage.card_shows("scada", "state", "healthy").await;
        stage.counts("scada", "3 delivered").await;
        stage.first_is("hook").await;

        stage.tab_to("Attempts: erp").await;
        stage.browser.script("window.focused = document.activeElement", json!([])).await;
        hook.answer(|_| Answer::ok());
        stage.card_shows("hook", "state", "healthy").await;
        stage.shows("verdict", "All 3 endpoints healthy").await;
        arrive(&hook, ids("Beta", 3)).await;

        erp.answer(|_| Answer::status(500));
        stage.send("Alpha", ids("late", 3)).await;
        stage.card_shows("erp", "state", "open").await;
        stage.title_says("erp open").await;
        stage.first_is("erp").await;
        let same = "return [window.sameDocument, document.activeElement === window.focused]";
        assert_eq!(stage.browser.script(same, json!([])).await, json!([true, true]));
        stage.kept_to_itself().await;
    });
}

#[test]
fn an_endpoint_is_paused_and_resumed_from_the_keyboard() {
    on_system(async {
        let erp = HttpServer::start();
        let stage = Stage::set(&rest("erp", "Alpha", &erp.url("/"))).await;
        stage.card_shows("erp", "state", "healthy").await;
        stage.tab_to("Pause: erp").await;
        stage.browser.press(ENTER).await;
        stage.card_shows("erp", "state", "paused").await;
        stage.shows("notice", "erp is paused").await;
        stage.shows("verdict", "paused").await;
        // The same button, with its other meaning.
        eventually("the button resumes", DEADLINE, || async {
            (stage.focus().await == "Resume: erp").then_some(())
        })
        .await;
        stage.send("Alpha", ids("waits", 3)).await;
        stage.card_shows("erp", "parked", "3").await;
        assert_eq!(events(&erp), Vec::<String>::new());

        stage.browser.press(ENTER).await;
        stage.shows("notice", "erp is resumed").await;
        arrive(&erp, ids("waits", 3)).await;
        stage.card_shows("erp", "parked", "0").await;
        stage.card_shows("erp", "state", "healthy").await;
        stage.kept_to_itself().await;
    });
}

#[test]
fn dead_letters_are_shown_replayed_and_deleted_after_a_question() {
    on_system(async {
        let erp = HttpServer::start();
        erp.answer(|_| Answer::status(422).body("no such batch"));
        let stage = Stage::set(&rest("erp", "Alpha", &erp.url("/"))).await;
        stage.send("Alpha", ids("dead", 4)).await;
        stage.card_shows("erp", "dead", "4").await;
        stage.shows("totals", "4 dead letters to decide on").await;
        erp.answer(|_| Answer::ok());

        stage.click("erp", "letters").await;
        stage.dialog_shows("letters", "4 of 4 dead letters").await;
        stage.browser.click("//button[@aria-label='Show dead-0']").await;
        let shown = stage.dialog_shows("letter", "lockgate-reason").await;
        for part in ["422", "\"event_id\": \"dead-0\"", "platform", "lockgate-attempts"] {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
        stage.browser.press(ESCAPE).await;
        assert!(!stage.dialog_is_open("letter").await);
        assert_eq!(stage.focus().await, "Show dead-0");

        stage.browser.click("//button[@aria-label='Replay dead-0']").await;
        stage.dialog_shows("letters", "1 letter replayed to erp, 3 left.").await;
        let times = |id: &'static str| {
            let of = |r: &&super::support::http::Request| r.header("x-request-id") == Some(id);
            erp.received().iter().filter(of).count()
        };
        eventually("the replayed one arrives", DEADLINE, || async {
            (times("dead-0") == 2).then_some(())
        })
        .await;

        stage.dialog_shows("letters", "3 of 3 dead letters").await;
        stage.browser.click("//input[@aria-label='Select dead-1']").await;
        stage.click_in("letters", "purge").await;
        stage.dialog_shows("ask", "Delete 1 dead letter of erp?").await;
        // A thoughtless Enter does nothing, and the focus goes back.
        stage.browser.press(ENTER).await;
        assert!(!stage.dialog_is_open("ask").await);
        assert_eq!(stage.focus().await, "Delete selected (1)");
        let dead = "lockgate.ep.erp.dead";
        assert_eq!(stage.platform.depth(dead).await, 3);
        stage.browser.press(ENTER).await;
        stage.dialog_shows("ask", "Delete 1 dead letter of erp?").await;
        stage.browser.press(&format!("{TAB}{ENTER}")).await;
        stage.dialog_shows("letters", "1 letter deleted, 2 left.").await;

        stage.click_in("letters", "replay_all").await;
        stage.dialog_shows("ask", "Replay all 2 dead letters to erp?").await;
        stage.click_in("ask", "yes").await;
        stage.dialog_shows("letters", "2 letters replayed to erp, 0 left.").await;
        eventually("all but the deleted one arrive", DEADLINE, || async {
            (times("dead-2") == 2 && times("dead-3") == 2).then_some(())
        })
        .await;
        assert_eq!(times("dead-1"), 1);
        assert_eq!(stage.platform.depth(dead).await, 0);
        stage.click_in("letters", "close").await;
        stage.card_shows("erp", "dead", "0").await;
        stage.kept_to_itself().await;
    });
}

#[test]
fn what_became_of_an_event_is_found_and_a_test_event_tells_its_way() {
    on_system(async {
        let (erp, hook) = (HttpServer::start(), HttpServer::start());
        hook.answer(|_| Answer::status(503));
        let endpoints =
            rest("erp", "Alpha", &erp.url("/")) + &rest("hook", "Alpha", &hook.url("/"));
        let stage = Stage::set(&endpoints).await;
        stage.send("Alpha", ids("one", 2)).await;
        stage.counts("erp", "2 delivered").await;
        stage.card_shows("hook", "error", "503").await;

        stage.tab_to("").await;
        stage.browser.press(&format!("one-1{ENTER}")).await;
        let found = stage.dialog_shows("event", "Delivered to erp.").await;
        assert!(found.contains("Not delivered to hook."), "{found}");
        assert!(found.contains("503"), "{found}");
        assert!(!found.contains("one-0"), "{found}");
        stage.click_in("event", "close").await;

        stage.click("hook", "attempts").await;
        let log = stage.dialog_shows("attempts", "one-0").await;
        assert!(log.to_lowercase().contains("transient") && log.contains("503"), "{log}");
        stage.click_in("attempts", "close").await;

        stage.click("erp", "test").await;
        stage.click_in("test", "send").await;
        let told = stage.dialog_shows("test", "The partner took it.").await;
        assert!(told.contains("first byte"), "{told}");
        let received = erp.received();
        let body: Value = serde_json::from_slice(&received.last().unwrap().body).unwrap();
        assert_eq!(body["test"], json!(true), "{body}");
        stage.browser.press(ESCAPE).await;
        stage.shows("notice", "Test of erp: delivered").await;
        assert_eq!(stage.focus().await, "Send test event: erp");
        stage.kept_to_itself().await;
    });
}

#[test]
fn a_lost_connection_is_said_and_comes_back_by_itself() {
    on_system(async {
        let erp = HttpServer::start();
        let stage = Stage::set(&rest("erp", "Alpha", &erp.url("/"))).await;
        stage.card_shows("erp", "state", "healthy").await;
        let grey = "return document.documentElement.hasAttribute('data-stale')";
        assert_eq!(stage.browser.script(grey, json!([])).await, json!(false));

        stage.lockgate.signal("STOP");
        stage.shows("lost", "Connection lost since").await;
        stage.shows("live_text", "Disconnected").await;
        stage.title_says("connection lost").await;
        assert_eq!(stage.browser.script(grey, json!([])).await, json!(true));

        stage.lockgate.signal("CONT");
        stage.live().await;
        stage.title_says("all healthy").await;
        assert_eq!(stage.part("lost").await, None);
        assert_eq!(stage.browser.script(grey, json!([])).await, json!(false));
        stage.kept_to_itself().await;

        // What data could do at worst, the policy forbids.
        let markup = "try { document.body.innerHTML = '<b>x</b>'; return 'taken' } \
             catch (error) { return error.name }";
        assert_eq!(stage.browser.script(markup, json!([])).await, json!("TypeError"));
        let elsewhere = "return fetch('http://localhost:1/').then(() => 'sent', () => 'refused')";
        assert_eq!(stage.browser.script(elsewhere, json!([])).await, json!("refused"));
        let said = stage.browser.console().await.concat();
        assert!(said.contains("Content Security Policy"), "{said}");
    });
}

#[test]
fn with_a_token_the_page_needs_it_and_works_with_it() {
    on_system(async {
        let token = [("LOCKGATE_ADMIN_TOKEN", TOKEN.to_owned())];
        let admin = "[admin]\ntoken = { env = \"LOCKGATE_ADMIN_TOKEN\" }\n";
        let stage = Stage::set_with(admin, &token).await;
        let url = stage.lockgate.url("/");
        let mut answer = awc::Client::default().get(&url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        let body = answer.body().await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("<html"), "the page came without a token");

        let none = "return document.querySelector('.verdict') === null";
        stage.browser.open(&url).await;
        assert_eq!(stage.browser.script(none, json!([])).await, json!(true));

        stage.browser.devtools("Network.enable", json!({})).await;
        let bearer = json!({ "headers": { "Authorization": format!("Bearer {TOKEN}") } });
        stage.browser.devtools("Network.setExtraHTTPHeaders", bearer).await;
        stage.browser.open(&url).await;
        stage.live().await;
        stage.shows("empty", "No endpoint is configured").await;

        stage.browser.devtools("Network.setExtraHTTPHeaders", json!({ "headers": {} })).await;
        stage.browser.open(&url).await;
        assert_eq!(stage.browser.script(none, json!([])).await, json!(true));
        // What those refusals said is not what is looked for below.
        stage.browser.console().await;
        stage.browser.open(&url.replace("://", &format!("://operator:{TOKEN}@"))).await;
        stage.live().await;
        stage.browser.click("//button[@data-f='reload']").await;
        stage.dialog_shows("reload", "configuration").await;
        assert_eq!(stage.browser.console().await, Vec::<String>::new());
        let page = "return document.documentElement.outerHTML + JSON.stringify(localStorage)";
        let page = stage.browser.script(page, json!([])).await.to_string();
        assert!(!page.contains(TOKEN), "the token is in the document");
    });
}

/// Ten endpoints in every state, one with the longest name and a long address.
fn ten(partner: &HttpServer, long: &str) -> String {
    let url = |status: &str| partner.url(&format!("/{status}"));
    let line = |n: usize| rest(&format!("line-{n}"), "Alpha", &url("200"));
    let far = format!("https://{0}.{0}.{0}.invalid/{0}", "a-long-name-of-a-partner-host");
    [
        rest("erp", "Alpha", &url("503")),
        rest("hook", "Alpha", &url("401")),
        rest("lab", "Alpha", &url("422")),
        rest("archive", "Alpha", &url("200")),
        rest("printer", "Alpha", &url("200")),
        rest(long, "Alpha", &far),
    ]
    .into_iter()
    .chain((1..=4).map(line))
    .collect()
}

#[test]
fn it_fits_a_phone_and_a_desk_in_light_and_in_dark() {
    on_system(async {
        let partner = HttpServer::start();
        partner.answer(|request| {
            let status: u16 = request.path[1..].parse().unwrap();
            Answer::status(status).body("why not: ".repeat(20))
        });
        let long = format!("a-long-{}", "name-".repeat(11)) + "x";
        let stage = Stage::set(&ten(&partner, &long)).await;
        stage.click("printer", "pause").await;
        stage.card_shows("printer", "state", "paused").await;
        stage.send("Alpha", ids("event", 25)).await;
        stage.card_shows("erp", "state", "open").await;
        stage.card_shows("hook", "state", "misconfigured").await;
        stage.card_shows(&long, "state", "misconfigured").await;
        stage.card_shows("lab", "dead", "25").await;
        stage.card_shows("printer", "parked", "25").await;
        stage.shows("verdict", "printer paused").await;
        stage.first_is(&long).await;
        let pictures = stage.pictures();
        for (scheme, width) in
            [("light", 1280), ("dark", 1280), ("dark", 800), ("light", 360), ("dark", 360)]
        {
            stage.browser.scheme(scheme).await;
            stage.browser.size(width, 800).await;
            stage.fits(&format!("{scheme} {width}")).await;
            let file = pictures.join(format!("page-{scheme}-{width}.png"));
            stage.browser.picture(&file, true).await;
            let size = file.metadata().unwrap().len();
            assert!(size > 20_000, "{} has {size} bytes", file.display());
        }
        legible(&stage, "dark").await;
        stage.browser.scheme("light").await;
        legible(&stage, "light").await;
        dialogs_fit(&stage, &pictures).await;
        stage.kept_to_itself().await;
    });
}

/// Every dialog, on a phone.
async fn dialogs_fit(stage: &Stage, pictures: &Path) {
    for (endpoint, button, text) in [
        ("lab", "letters", "25 of 25 dead letters"),
        ("hook", "attempts", "401"),
        ("erp", "test", "Send it"),
    ] {
        stage.click(endpoint, button).await;
        stage.dialog_shows(button, text).await;
        if button == "test" {
            stage.click_in("test", "send").await;
            stage.dialog_shows("test", "503").await;
        }
        let inside = "const box = document.getElementById(arguments[0]); \
             return [box.scrollWidth, box.clientWidth]";
        let width = stage.browser.script(inside, json!([button])).await;
        assert!(width[0].as_u64() <= width[1].as_u64(), "{button}: {width}");
        stage.fits(button).await;
        stage.browser.picture(&pictures.join(format!("dialog-{button}.png")), false).await;
        stage.click_in(button, "close").await;
    }
}

/// Every visible text stands out from its ground by a contrast of at least 4.5 (WCAG AA).
async fn legible(stage: &Stage, scheme: &str) {
    let script = r"
        const light = ([r, g, b]) => [r, g, b]
            .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
        const parts = (color) => color.match(/[\d.]+/g).map(Number);
        const ground = (node) => {
            for (let at = node; at; at = at.parentElement) {
                const color = parts(getComputedStyle(at).backgroundColor);
                if (color.length === 3 || color[3] === 1) return color;
            }
            return [255, 255, 255];
        };
        const faint = [];
        let seen = 0;
        for (const node of document.querySelectorAll('body *')) {
            const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
            if (!text || !node.checkVisibility()) continue;
            seen += 1;
            const [a, b] = [parts(getComputedStyle(node).color), ground(node)].map(light);
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) faint.push(`${node.textContent.slice(0, 40)}: ${contrast.toFixed(2)}`);
        }
        return [seen, faint];";
    let found = stage.browser.script(script, json!([])).await;
    assert!(found[0].as_u64() > Some(100), "only {} texts", found[0]);
    assert_eq!(found[1], json!([]), "{scheme}");
}
