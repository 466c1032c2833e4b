// The admin API as functions. What it refuses becomes a Trouble, with words for an operator.

// Absolute, without the credentials that the page's own address may hold: fetch refuses those.
const base = location.origin + location.pathname;

/** The address of an API path; query values that are absent are left out. */
export function address(path, query = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url.href;
}

/** Why a request came to nothing, and what to do about it. */
export class Trouble extends Error {
  constructor(text, hint = null, problems = [], status = 0) {
    super(text);
    Object.assign(this, { hint, problems, status });
  }

  /** One sentence or two. */
  get words() {
    return this.hint ? `${this.message} What to do: ${this.hint}` : this.message;
  }
}

async function trouble(answer) {
  const problem = await answer.json().catch(() => ({}));
  let hint = problem.hint ?? null;
  if (answer.status === 401) hint ??= "load the page again and log in with the admin token as the password";
  const text = problem.detail ?? problem.title ?? `The bridge answered ${answer.status} ${answer.statusText}`;
  return new Trouble(sentence(text), hint && sentence(hint), problem.problems ?? [], answer.status);
}

function sentence(text) {
  const trimmed = text.trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

async function ask(url, options, seconds) {
  let answer;
  try {
    answer = await fetch(url, { ...options, credentials: "same-origin", signal: AbortSignal.timeout(seconds * 1000) });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw late
      ? new Trouble(`No answer within ${seconds} seconds.`, "whether it was done is not known: look before you try again.")
      : new Trouble("The bridge cannot be reached.", "check that it runs, and the way to it.");
  }
  if (!answer.ok) throw await trouble(answer);
  return answer.json();
}

/** Reads. */
export function get(path, query) {
  return ask(address(path, query), { headers: { Accept: "application/json" } }, 30);
}

/** Changes something. A test event may take as long as its endpoint's own timeouts. */
export function post(path, body = {}, seconds = 330) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return ask(address(path), { method: "POST", headers, body: JSON.stringify(body) }, seconds);
}

/** The path of an endpoint. */
export function endpointPath(name, what) {
  return `api/endpoints/${encodeURIComponent(name)}/${what}`;
}
