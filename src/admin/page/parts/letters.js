// Dead letters of one endpoint: looked at, replayed, deleted. It looks only when asked to: looking takes
// letters out of their queue for a moment.

import { get, post } from "./api.js";
import { dialog, make } from "./dom.js";
import { ago, at, bytes, exact, indented, things } from "./format.js";

const FIRST_LOOK = 100;
const LONGEST_LOOK = 1000;
/** Between two looks that should have found more, in milliseconds. */
const AGAIN = 400;

const kind = (letter) => [letter.event_type, letter.event_trigger].filter(Boolean).join(" / ") || "unknown kind";

/** RabbitMQ may have moved it itself, after lockgate had parked it. */
const deadSince = (letter) => letter.dead_since ?? letter.parked_at;

/** The dialog: a function of the endpoint. */
export function lettersOf(ask, announce) {
  const view = dialog("letters");
  const showOne = letterView();
  const chosen = new Set();
  let name = null;
  let limit = FIRST_LOOK;
  let seen = { ready: 0, letters: [] };
  let busy = false;

  function tools() {
    const some = chosen.size;
    view.replay.textContent = `Replay selected (${some})`;
    view.purge.textContent = `Delete selected (${some})`;
    view.replay_all.textContent = `Replay all (${exact(seen.ready)})`;
    view.purge_all.textContent = `Delete all (${exact(seen.ready)})`;
    for (const button of [view.replay, view.purge]) button.setAttribute("aria-disabled", String(!some || busy));
    for (const button of [view.replay_all, view.purge_all]) button.setAttribute("aria-disabled", String(!seen.ready || busy));
  }

  function row(letter) {
    const id = letter.event_id;
    const box = make("input", { type: "checkbox", "aria-label": `Select ${id ?? "letter without an id"}`, disabled: !id });
    box.checked = chosen.has(id);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(id);
      else chosen.delete(id);
      tools();
    });
    const one = (text, action) => make("button", { type: "button", class: "small", "aria-label": `${text} ${id}`, click: action }, text);
    return make("tr", {},
      make("td", { class: "check" }, box),
      make("td", { class: "event", "data-label": "Event" }, kind(letter), make("span", { class: "code soft block" }, id ?? "without an id")),
      make("td", { "data-label": "Why" }, make("strong", {}, letter.reason ?? "unknown"), make("span", { class: "block why" }, letter.last_error ?? "")),
      make("td", { "data-label": "Attempts" }, exact(letter.attempts)),
      make("td", { class: "narrow", "data-label": "Dead since" }, at(deadSince(letter)), deadSince(letter) ? make("span", { class: "soft block" }, ago(deadSince(letter))) : null),
      make("td", {}, id ? make("div", { class: "row" }, one("Show", () => showOne(name, id)), one("Replay", () => act("replay", [id]))) : null));
  }

  function table(letters) {
    const all = make("input", { type: "checkbox", "aria-label": "Select every letter that is shown" });
    const ids = letters.map((letter) => letter.event_id).filter(Boolean);
    all.checked = ids.length > 0 && ids.every((id) => chosen.has(id));
    all.addEventListener("change", () => {
      for (const id of ids) {
        if (all.checked) chosen.add(id);
        else chosen.delete(id);
      }
      for (const box of view.body.querySelectorAll("tbody input:enabled")) box.checked = all.checked;
      tools();
    });
    const heads = ["Event", "Why", "Attempts", "Dead since", ""].map((text) => make("th", { scope: "col" }, text));
    return make("table", { "aria-label": `Dead letters of ${name}` },
      make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "check" }, all), ...heads)),
      make("tbody", {}, ...letters.map(row)));
  }

  /** Asks for the list. RabbitMQ may count too few for a moment after letters went round: then it is asked again. */
  async function look(before = "", expected = 0, tries = 5) {
    const asked = name;
    view.said.textContent = `${before} Looking into the queue…`.trim();
    try {
      const found = await get("api/dead-letters", { endpoint: asked, limit });
      if (asked !== name) return;
      if (found.ready < expected && tries > 1) {
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
        if (asked === name && view.box.open) await look(before, expected, tries - 1);
        return;
      }
      seen = found;
      const ids = new Set(found.letters.map((letter) => letter.event_id));
      for (const id of chosen) if (!ids.has(id)) chosen.delete(id);
      // The letter whose button has the focus may be gone: the focus stays in the dialog.
      const lost = view.body.contains(document.activeElement);
      view.body.replaceChildren(...(found.letters.length ? [table(found.letters)] : []));
      if (lost) view.refresh.focus();
      const what = found.letters.length === 0
        ? "There are no dead letters."
        : `${exact(found.letters.length)} of ${things(Math.max(found.ready, found.letters.length), "dead letter")}, from the head of the queue, at ${at(new Date())}.`;
      view.said.textContent = `${before} ${what}`.trim();
      view.more.hidden = found.letters.length < limit || limit >= LONGEST_LOOK;
    } catch (error) {
      if (asked === name) view.said.textContent = `${before} ${error.words ?? error}`.trim();
    }
    tools();
  }

  /** Replays or deletes the letters of these ids, or all; asks first where it is more than one or for good. */
  async function act(what, ids) {
    if (busy || (ids && !ids.length) || (!ids && !seen.ready)) return;
    const number = ids ? ids.length : seen.ready;
    const letters = ids ? things(number, "dead letter") : `all ${things(number, "dead letter")}`;
    const purge = what === "purge";
    const asked = name;
    if (purge || number > 1 || !ids) {
      const sure = await ask(purge
        ? { title: `Delete ${letters} of ${asked}?`, text: `${number === 1 ? "It is" : "They are"} deleted for good, on all instances: ${asked} will never get ${number === 1 ? "this event" : "these events"}.${ids ? "" : " What dies in the meantime is deleted too."}`, yes: `Delete ${letters} of ${asked}`, danger: true }
        : { title: `Replay ${letters} to ${asked}?`, text: `What is replayed goes into the parked queue of ${asked}, as if never attempted, and is sent as soon as the partner takes events. Nothing is lost if it fails again.`, yes: `Replay ${letters} to ${asked}` });
      if (!sure) return;
    }
    busy = true;
    tools();
    view.said.textContent = purge ? "Deleting…" : "Replaying…";
    let told;
    let stay = 0;
    try {
      const { moved, left } = await post(`api/dead-letters/${what}`, { endpoint: asked, ...(ids ? { event_ids: ids } : { all: true }) });
      told = `${things(moved, "letter")} ${purge ? "deleted" : `replayed to ${asked}`}, ${exact(left)} left.`;
      announce(`${asked}: ${told}`);
      stay = left;
      if (asked === name) {
        chosen.clear();
        seen = { ...seen, ready: left };
      }
    } catch (error) {
      told = error.words ?? String(error);
    }
    busy = false;
    tools();
    if (asked === name && view.box.open) await look(told, stay);
  }

  view.refresh.addEventListener("click", () => look());
  view.more.addEventListener("click", () => {
    limit = LONGEST_LOOK;
    look();
  });
  view.replay.addEventListener("click", () => act("replay", [...chosen]));
  view.purge.addEventListener("click", () => act("purge", [...chosen]));
  view.replay_all.addEventListener("click", () => act("replay", null));
  view.purge_all.addEventListener("click", () => act("purge", null));
  return (endpoint) => {
    name = endpoint.name;
    limit = FIRST_LOOK;
    seen = { ready: endpoint.dead ?? 0, letters: [] };
    chosen.clear();
    view.title.textContent = `Dead letters: ${name}`;
    view.body.replaceChildren();
    view.more.hidden = true;
    tools();
    view.open();
    look();
  };
}

/** One letter whole, in a dialog over the list. */
function letterView() {
  const view = dialog("letter");
  const pairs = (rows) => make("dl", { class: "pairs" }, ...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([term, value]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))));
  return async (endpoint, id) => {
    view.title.textContent = id;
    view.said.textContent = "Looking into the queue…";
    view.body.replaceChildren();
    view.open();
    try {
      const { letter, headers, message } = await get(`api/dead-letters/${encodeURIComponent(id)}`, { endpoint });
      if (view.title.textContent !== id) return;
      const body = message.body ?? message.body_base64;
      const text = typeof body === "string" ? body : JSON.stringify(body);
      view.said.textContent = "";
      view.body.replaceChildren(
        pairs([["Reason", letter.reason], ["Last error", letter.last_error], ["Attempts", letter.attempts],
          ["Configuration", letter.configuration], ["Received", letter.received_at && at(letter.received_at)],
          ["First attempt", letter.first_attempt_at && at(letter.first_attempt_at)],
          ["Last attempt", letter.last_attempt_at && at(letter.last_attempt_at)], ["Dead since", deadSince(letter) && at(deadSince(letter))]]),
        make("h3", {}, message.body_base64 !== undefined && message.body === undefined ? "Body, as base64" : `Body, ${bytes(new TextEncoder().encode(text).length)}`),
        make("pre", { tabindex: "0" }, indented(text)),
        make("h3", {}, "Message"),
        pairs([["Exchange", message.exchange], ["Routing key", message.routing_key], ...Object.entries(message.properties ?? {})]),
        make("h3", {}, "Headers"),
        pairs(Object.entries({ ...message.headers, ...headers })));
    } catch (error) {
      view.said.textContent = error.words ?? String(error);
    }
  };
}
