// The delivery log: what was attempted for one endpoint, and what became of one event everywhere.

import { endpointPath, get } from "./api.js";
import { dialog, icon, make } from "./dom.js";
import { ago, at, milliseconds, things } from "./format.js";

/** An outcome's colour and icon, those of the endpoint states that it resembles. */
export const LOOK = { delivered: "healthy", transient: "degraded", permanent: "open", misconfigured: "misconfigured" };

/** "queue 0.2 ms · connect 4 ms", or nothing. */
export function phases(list) {
  return (list ?? []).map((phase) => `${phase.name.replaceAll("_", " ")} ${milliseconds(phase.ms)}`).join(" · ");
}

/** An outcome as icon, word, and what is known of why. */
export function outcome(attempt) {
  const look = LOOK[attempt.outcome] ?? "unknown";
  const why = [attempt.status ? `status ${attempt.status}` : null, attempt.error_type, attempt.detail].filter(Boolean);
  return make("div", { class: "outcome", "data-state": look },
    make("span", { class: "state" }, icon(look), make("span", {}, attempt.outcome)),
    why.length ? make("span", { class: "why" }, why.join(": ")) : null);
}

function row(attempt) {
  return make("tr", {},
    make("td", { "data-label": "Time" }, make("time", { datetime: attempt.at, title: attempt.at }, at(attempt.at)), make("span", { class: "soft block" }, ago(attempt.at))),
    make("td", { class: "event", "data-label": "Event" }, attempt.event, make("span", { class: "code soft block" }, attempt.event_id)),
    make("td", { class: "narrow", "data-label": "Attempt" }, attempt.lane === "test" ? "test" : `${attempt.attempt}, ${attempt.lane}`),
    make("td", { "data-label": "Outcome" }, outcome(attempt)),
    make("td", { class: "took", "data-label": "Took" }, milliseconds(attempt.took_ms), make("span", { class: "soft block" }, phases(attempt.phases))));
}

function table(attempts, label) {
  const heads = ["Time", "Event", "Attempt", "Outcome", "Took"].map((name) => make("th", { scope: "col" }, name));
  return make("table", { "aria-label": label },
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...attempts.map(row)));
}

/** The dialog of one endpoint's attempts: a function of the endpoint. */
export function attemptsOf() {
  const view = dialog("attempts");
  const input = view.find.querySelector("input");
  let name = null;

  async function load() {
    const asked = name;
    view.said.textContent = "Reading the log…";
    try {
      const { attempts } = await get(endpointPath(asked, "attempts"), { event_id: input.value.trim() });
      if (asked !== name) return;
      view.body.replaceChildren(...(attempts.length ? [table(attempts, `Attempts for ${name}`)] : []));
      view.said.textContent = attempts.length
        ? `${things(attempts.length, "attempt")} of this instance, newest first.`
        : "This instance remembers no such attempt.";
    } catch (error) {
      view.body.replaceChildren();
      view.said.textContent = error.words ?? String(error);
    }
  }

  view.find.addEventListener("submit", (event) => {
    event.preventDefault();
    load();
  });
  return (endpoint) => {
    name = endpoint.name;
    view.title.textContent = `Attempts: ${name}`;
    input.value = "";
    view.body.replaceChildren();
    view.open();
    load();
  };
}

/** What one endpoint did with an event: a short sentence, and whether it is good. */
function answer({ name, attempts, letters }) {
  const real = attempts.filter((attempt) => attempt.lane !== "test");
  const delivered = real.find((attempt) => attempt.outcome === "delivered");
  if (letters.length) return { name, kind: "dead", text: `${name}: it is a dead letter since ${at(letters[0].dead_since ?? letters[0].parked_at)}` };
  if (delivered) return { name, kind: "delivered", text: `${name}: delivered at ${at(delivered.at)}, attempt ${delivered.attempt}` };
  if (real.length) {
    const gone = real[0].outcome === "permanent";
    return { name, kind: "waits", text: `${name}: not delivered; the last attempt was at ${at(real[0].at)}, ${real[0].outcome}${gone ? "" : "; it waits and is tried again"}` };
  }
  return { name, kind: attempts.length ? "test" : "none", text: `${name}: ${attempts.length ? "a test event" : "no attempt"}` };
}

const LOOKS = { delivered: "healthy", waits: "degraded", dead: "open", test: "unknown" };

/** "Was event X delivered?", over all endpoints: a function of the id and the endpoints. */
export function eventSearch(started) {
  const view = dialog("event");
  let asked = null;

  async function about(id, endpoint) {
    const { name, dead } = endpoint;
    const log = get(endpointPath(name, "attempts"), { event_id: id });
    const died = dead ? get("api/dead-letters", { endpoint: name, event_id: id, limit: 1000 }) : { letters: [] };
    const [{ attempts }, { letters }] = await Promise.all([log, died]);
    return { name, attempts, letters };
  }

  return async (id, endpoints) => {
    asked = id;
    view.title.textContent = id;
    view.said.textContent = `Asking the logs of ${things(endpoints.length, "endpoint")}…`;
    view.fine.textContent = "";
    view.body.replaceChildren();
    view.open();
    const asking = await Promise.allSettled(endpoints.map((endpoint) => about(id, endpoint)));
    if (asked !== id) return;
    const found = asking.filter((one) => one.status === "fulfilled").map((one) => one.value);
    const failed = asking.find((one) => one.status === "rejected");
    const answers = found.map(answer);
    const of = (kind) => answers.filter((one) => one.kind === kind).map((one) => one.name).join(", ");
    const clauses = [
      [of("delivered"), "Delivered to "], [of("waits"), "Not delivered to "], [of("dead"), "Dead at "], [of("test"), "A test of "],
    ].filter(([names]) => names).map(([names, words]) => `${words}${names}.`);
    view.said.textContent = clauses.join(" ") || "No endpoint knows this event.";
    if (failed) view.said.textContent += ` Not every log could be read: ${failed.reason.words ?? failed.reason}`;
    for (const one of answers.filter((each) => each.kind !== "none")) {
      const { attempts } = found.find((each) => each.name === one.name);
      view.body.append(make("h3", { class: "answer", "data-state": LOOKS[one.kind] }, icon(LOOKS[one.kind]), one.text));
      if (attempts.length) view.body.append(table(attempts, `Attempts for ${one.name}`));
    }
    const silent = of("none");
    view.fine.textContent = `${silent ? `No attempt is remembered for ${silent}. ` : ""}The log is this instance's memory since ${at(started())} and holds the latest attempts: older ones, and those of other instances, are not in it.`;
  };
}
