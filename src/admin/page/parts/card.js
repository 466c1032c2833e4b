// One endpoint's card: made once, then patched. A focused button is never replaced, and the list is not
// rearranged under a hand or a key.

import { draw, mark, parts, say, show } from "./dom.js";
import { ago, at, count, duration, exact, milliseconds, now, rate, UNKNOWN } from "./format.js";
import { worstFirst } from "./verdict.js";

/** For so long after the last movement over the list it keeps its order. */
const STILL = 4000;

/** The list of cards. `actions` has a function of the endpoint for each button. */
export function cards(list, template, actions) {
  const byName = new Map();
  let touched = 0;
  for (const kind of ["pointermove", "pointerdown", "keydown"]) {
    list.addEventListener(kind, () => { touched = performance.now(); }, { passive: true });
  }

  function add(name) {
    const node = template.content.firstElementChild.cloneNode(true);
    const card = { node, ...parts(node), endpoint: null };
    const act = (button, action) => button.addEventListener("click", () => action(card.endpoint, button));
    act(card.pause, (endpoint) => (endpoint.paused ? actions.resume : actions.pause)(endpoint));
    for (const what of ["test", "attempts", "letters"]) act(card[what], actions[what]);
    for (const what of ["test", "attempts"]) mark(card[what], "aria-label", `${card[what].textContent}: ${name}`);
    byName.set(name, card);
    return card;
  }

  function patch(endpoints) {
    for (const endpoint of endpoints) {
      const card = byName.get(endpoint.name) ?? add(endpoint.name);
      card.endpoint = endpoint;
      fill(card, endpoint);
      tick(card);
    }
    const names = new Set(endpoints.map((endpoint) => endpoint.name));
    for (const [name, card] of byName) {
      if (names.has(name)) continue;
      card.node.remove();
      byName.delete(name);
    }
    arrange(worstFirst(endpoints).map((endpoint) => byName.get(endpoint.name).node));
  }

  function arrange(wanted) {
    const fresh = wanted.some((node) => !node.isConnected);
    if (!fresh && (performance.now() - touched < STILL || wanted.every((node, index) => node === list.children[index]))) return;
    // What has the focus stays where it is in the document: moved, it would lose it.
    const fixed = wanted.findIndex((node) => node.contains(document.activeElement));
    if (fixed >= 0) wanted[fixed].before(...wanted.slice(0, fixed));
    list.append(...wanted.slice(fixed + 1));
  }

  return { patch, tick: () => byName.forEach(tick) };
}

function fill(card, endpoint) {
  const { state, counters } = endpoint;
  mark(card.node, "data-state", state);
  mark(card.icon, "href", `#i-${state}`);
  say(card.state, endpoint.enabled === false ? `${state}: switched off in the configuration` : state);
  say(card.name, endpoint.name);
  say(card.transport, endpoint.transport);
  say(card.target, endpoint.target ?? "");
  say(card.rate, rate(endpoint.rate));
  const top = draw(card.spark, endpoint.rates ?? []);
  mark(card.spark, "aria-label", `Delivered per second in the last 15 minutes: now ${rate(endpoint.rate)}, at most ${rate(top)}`);
  say(card.peak, `peak ${rate(top)}/s`);
  say(card.parked, count(endpoint.parked));
  mark(card.parked, "title", exact(endpoint.parked));
  mark(card.parked, "data-some", endpoint.parked > 0 ? "" : null);
  say(card.dead, count(endpoint.dead));
  mark(card.dead, "data-some", endpoint.dead > 0 ? "" : null);
  say(card.in_flight, count(counters.in_flight));
  say(card.p50, milliseconds(endpoint.p50_ms));
  say(card.p99, milliseconds(endpoint.p99_ms));
  say(card.pause, endpoint.paused ? "Resume" : "Pause");
  mark(card.pause, "aria-label", `${endpoint.paused ? "Resume" : "Pause"}: ${endpoint.name}`);
  say(card.letters, endpoint.dead ? `Dead letters (${count(endpoint.dead)})` : "Dead letters");
  mark(card.letters, "aria-label", `${card.letters.textContent}: ${endpoint.name}`);
  const n = (key) => exact(counters[key]);
  say(card.sum, `${n("routed")} routed + ${n("resumed")} resumed = ${n("delivered")} delivered + ${n("parked")} parked + ${n("dead")} dead + ${n("suppressed")} suppressed + ${n("stale")} stale + ${n("in_flight")} in flight`);
}

/** What changes with the time alone. */
function tick(card) {
  const { endpoint } = card;
  const { since, last_error: error, state } = endpoint;
  say(card.since_line, since ? `since ${at(since)} · ${ago(since)}` : "starting");
  const left = endpoint.next_probe ? (Date.parse(endpoint.next_probe) - now()) / 1000 : null;
  show(card.probe_cell, left !== null);
  say(card.probe, left === null ? UNKNOWN : left > 0 ? `in ${duration(Math.ceil(left))}` : "now");
  show(card.trouble, Boolean(error));
  if (!error) return;
  // What failed before a recovery is history, and looks like it.
  mark(card.trouble, "data-past", state === "healthy" || state === "paused" ? "" : null);
  say(card.error_when, error.at ? `Last error at ${at(error.at)}, ${ago(error.at)}:` : "Last error:");
  say(card.error, error.text);
  show(card.remedy_line, Boolean(error.remedy) && state !== "healthy");
  say(card.remedy, error.remedy ?? "");
}
