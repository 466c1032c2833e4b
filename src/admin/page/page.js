// The status page: asks /api/stream for the state of the bridge once a second and shows it; the buttons
// ask the API. The parts: stream.js (live connection), verdict.js (the one line), card.js (an endpoint),
// attempts.js, letters.js, trial.js, reload.js (the dialogs), format.js, dom.js, api.js.

import { endpointPath, post } from "./parts/api.js";
import { asker } from "./parts/ask.js";
import { attemptsOf, eventSearch } from "./parts/attempts.js";
import { cards } from "./parts/card.js";
import { draw, mark, parts, say, show } from "./parts/dom.js";
import { at, count, duration, rate, serverTime, UNKNOWN, zone } from "./parts/format.js";
import { lettersOf } from "./parts/letters.js";
import { reloader } from "./parts/reload.js";
import { follow } from "./parts/stream.js";
import { trial } from "./parts/trial.js";
import { totals, verdict } from "./parts/verdict.js";

const page = parts(document);
let status = null;
let lostSince = null;
let seen = null;

/** Tells a result, to eyes and to screen readers. */
function announce(text, failed = false) {
  page.notice.textContent = `${at(new Date())}: ${text}`;
  mark(page.notice, "data-failed", failed ? "" : null);
}

async function change(endpoint, what, words) {
  try {
    const { changed } = await post(endpointPath(endpoint.name, what), {}, 30);
    announce(changed ? words : `${endpoint.name} was so already.`);
  } catch (error) {
    announce(`${endpoint.name}: ${error.words ?? error}`, true);
  }
}

const ask = asker();
const search = eventSearch(() => status?.instance.started_at);
const list = cards(page.cards, document.getElementById("card"), {
  pause: (endpoint) => change(endpoint, "pause", `${endpoint.name} is paused in this instance: what comes for it is parked.`),
  resume: (endpoint) => change(endpoint, "resume", `${endpoint.name} is resumed: what was parked goes first.`),
  test: trial(announce),
  attempts: attemptsOf(),
  letters: lettersOf(ask, announce),
});
page.reload.addEventListener("click", reloader(announce));
page.changed_button.addEventListener("click", () => location.reload());
page.find.addEventListener("submit", (event) => {
  event.preventDefault();
  const id = page.find.elements.event_id.value.trim();
  if (id) search(id, status?.endpoints ?? []);
});

function told(next) {
  status = next;
  lostSince = null;
  const { instance, source, endpoints } = status;
  serverTime(Date.parse(instance.started_at) + instance.uptime_seconds * 1000);
  show(page.lost, false);
  mark(document.documentElement, "data-stale", null);
  mark(page.live, "data-state", "live");
  say(page.live_text, "Live");
  about(instance);
  from(source);
  const line = verdict(status);
  mark(page.verdict_box, "data-state", line.state);
  mark(page.verdict_icon, "href", `#i-${line.state}`);
  say(page.verdict, line.headline);
  say(page.totals, totals(status));
  title(`${line.state === "healthy" ? "✓" : line.state === "paused" ? "‖" : "▲"} ${line.title}`);
  say(page.endpoint_count, String(endpoints.length));
  show(page.empty, endpoints.length === 0);
  list.patch(endpoints);
}

function title(text) {
  const whole = `${text} · lockgate${status?.instance.environment ? ` ${status.instance.environment}` : ""}`;
  if (document.title !== whole) document.title = whole;
}

function about(instance) {
  show(page.facts, true);
  for (const key of ["id", "host", "version", "configuration"]) say(page[key], instance[key] ?? UNKNOWN);
  say(page.uptime, duration(instance.uptime_seconds));
  mark(page.uptime, "title", `since ${at(instance.started_at)}`);
  say(page.zone, zone());
  say(page.environment, instance.environment ?? "");
  show(page.environment, Boolean(instance.environment));
  if (seen && seen.version !== instance.version) {
    say(page.changed_text, `lockgate is now version ${instance.version}; this page is of ${seen.version}.`);
    show(page.changed, true);
  } else if (seen && seen.id !== instance.id) {
    announce(`These are now the numbers of another instance, or of this one after a restart: ${instance.id}.`);
    seen = instance;
  }
  seen ??= instance;
}

function from(source) {
  const state = source.consuming ? "healthy" : "open";
  mark(page.source, "data-state", state);
  mark(page.source_icon, "href", `#i-${state}`);
  say(page.source_state, source.consuming ? "consuming" : "not consuming");
  say(page.queue, source.queue ?? "");
  say(page.source_rate, rate(source.rate));
  const top = draw(page.source_spark, source.rates ?? []);
  mark(page.source_spark, "aria-label", `Received per second in the last 15 minutes: now ${rate(source.rate)}, at most ${rate(top)}`);
  say(page.source_peak, `peak ${rate(top)}/s`);
  say(page.depth, count(source.depth));
  say(page.source_in_flight, count(source.in_flight));
  say(page.oldest, source.oldest_unsettled_seconds === null ? UNKNOWN : duration(source.oldest_unsettled_seconds));
  for (const key of ["received", "rejected", "unwanted"]) say(page[key], count(source[key]));
  mark(page.rejected, "data-some", source.rejected > 0 ? "" : null);
}

function lost(since, why) {
  lostSince = since;
  mark(page.live, "data-state", "lost");
  say(page.live_text, "Disconnected");
  mark(document.documentElement, "data-stale", "");
  page.lost.textContent = `Connection lost since ${at(since)}. ${why} ${status ? "What is shown is from then; the" : "The"} page connects again by itself.`;
  show(page.lost, true);
  title(`✕ connection lost ${at(since)}`);
}

// Ages and countdowns go on between two messages; without a connection they would lie.
setInterval(() => {
  if (status && !lostSince) list.tick();
}, 1000);

follow(told, lost);
