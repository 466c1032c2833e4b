// The one line that answers "is it working?": a pure function of the status.

import { exact, shortly, things } from "./format.js";

/** Worst first. What an operator did on purpose comes after what broke. */
export const STATES = ["misconfigured", "open", "degraded", "unknown", "paused", "healthy"];

/** A state's rank: 0 is the worst. */
export function rank(state) {
  const at = STATES.indexOf(state);
  return at < 0 ? STATES.indexOf("unknown") : at;
}

/** Endpoints, worst first, then by name. */
export function worstFirst(endpoints) {
  const names = (a, b) => (a.name < b.name ? -1 : Number(a.name > b.name));
  return [...endpoints].sort((a, b) => rank(a.state) - rank(b.state) || names(a, b));
}

const one = ({ name, state, since }) => (since ? `${name} ${state} since ${shortly(since)}` : `${name} ${state}`);

function list(endpoints) {
  const named = endpoints.slice(0, 4).map(one);
  if (endpoints.length > named.length) named.push(`and ${endpoints.length - named.length} more`);
  return named.join(", ");
}

/** `{state, headline, title}`: the state for the colour, the line, and a short form for the window's title. */
export function verdict({ source, endpoints }) {
  const sorted = worstFirst(endpoints);
  const broken = sorted.filter((endpoint) => rank(endpoint.state) < rank("paused"));
  const paused = sorted.filter((endpoint) => endpoint.state === "paused");
  const clauses = [];
  const short = [];
  let state = "healthy";
  if (paused.length) {
    state = "paused";
    clauses.push(list(paused));
    short.push(`${paused.length} paused`);
  }
  if (broken.length) {
    state = broken[0].state;
    const need = broken.length === 1 ? "needs" : "need";
    clauses.unshift(`${broken.length} of ${things(endpoints.length, "endpoint")} ${need} attention: ${list(broken)}`);
    short.unshift(`${broken.map((endpoint) => `${endpoint.name} ${endpoint.state}`).slice(0, 3).join(", ")}`);
  }
  if (!source.consuming) {
    state = "open";
    clauses.unshift("No events are consumed from the source");
    short.unshift("not consuming");
  }
  if (!endpoints.length) {
    clauses.push("no endpoint is configured");
    short.push("no endpoints");
    if (state === "healthy") state = "degraded";
  }
  if (!clauses.length) {
    clauses.push(endpoints.length === 1 ? `The endpoint ${endpoints[0].name} is healthy` : `All ${endpoints.length} endpoints healthy`);
    short.push("all healthy");
  }
  const line = clauses.join("; ");
  return { state, headline: line[0].toUpperCase() + line.slice(1), title: short.join("; ") };
}

/** What waits, as a sentence. */
export function totals({ source, endpoints }) {
  const sum = (key) => endpoints.reduce((total, endpoint) => total + (endpoint[key] ?? 0), 0);
  const unknown = source.depth === null || endpoints.some((endpoint) => endpoint.parked === null);
  const waiting = (source.depth ?? 0) + sum("parked");
  const dead = sum("dead");
  const queued = source.depth === null ? "how many in the source queue is unknown" : `${exact(source.depth)} in the source queue`;
  const waits = waiting === 0 && !unknown
    ? "No event waits"
    : `${things(waiting, "event")} ${waiting === 1 ? "waits" : "wait"} (${queued}, ${exact(sum("parked"))} parked)`;
  const lies = dead === 0 ? "no dead letters" : `${things(dead, "dead letter")} to decide on`;
  return `${waits}; ${lies}.`;
}
