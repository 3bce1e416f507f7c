/**
 * Asks Starledger who may use what, and keeps each answer for as long as it allows. Copy this file; it needs nothing.
 * For servers (Node 18, Deno, Bun, workers): in a page, everybody could read the key.
 *
 *     const starledger = new Starledger("https://shop.example", "<key>", { staleFor: 600 });
 *     await starledger.hasAccess("7001", "gold");
 */

/** Starledger cannot be asked now, and nothing that was kept may stand for its answer. */
export class Unavailable extends Error {}

/** Seconds, on a clock that nobody sets. */
const clock = () => performance.now() / 1000;

/** One for the whole program. A key that is not accepted throws an Error with the answer's `status`. */
export class Starledger {
  #kept = new Map(); // user → { ends: Map of entitlement → when access ends, etag, freshUntil }
  #quietUntil = -Infinity;

  /**
   * @param {object} options
   * @param {number} [options.staleFor] seconds for which a kept answer is used beyond its time while Starledger cannot
   *     be asked
   * @param {boolean} [options.otherwise] what is said when there is no such answer either; undefined: throw Unavailable
   * @param {number} [options.timeout] seconds for a whole answer
   */
  constructor(url, key, { staleFor = 0, otherwise = undefined, timeout = 2, mostKept = 10_000 } = {}) {
    Object.assign(this, { url, key, staleFor, otherwise, timeout, mostKept });
  }

  /** Whether the user may use it now. No answer, however old, outlives the access itself. */
  async hasAccess(userId, entitlement) {
    let kept = this.#kept.get(userId);
    if (!kept || clock() >= kept.freshUntil) {
      try {
        kept = await this.#ask(userId, kept);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        if (!kept || clock() >= kept.freshUntil + this.staleFor) {
          if (this.otherwise === undefined) throw error;
          return this.otherwise;
        }
      }
    }
    return clock() < (kept.ends.get(entitlement) ?? -Infinity);
  }

  /** Those of up to 1000 users who have access; always asked. */
  async whoHas(entitlement, userIds) {
    const body = JSON.stringify({ entitlement, user_ids: [...userIds] });
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#send("/api/v1/entitlements/check", { method: "POST", body, headers });
    return new Set(Object.keys(answer.body.active));
  }

  async #ask(userId, kept) {
    const askedAt = clock();
    const headers = kept ? { "If-None-Match": kept.etag } : {};
    const answer = await this.#send(`/api/v1/customers/${encodeURIComponent(userId)}/entitlements`, { headers });
    const [, maxAge = 0] = answer.headers.get("Cache-Control").match(/max-age=(\d+)/) ?? [];
    const freshUntil = askedAt + Number(maxAge);
    if (kept && answer.status === 304) {
      kept = { ...kept, freshUntil };
    } else {
      // Its times are compared with its own: the clock of this machine may be wrong.
      const toldAt = Date.parse(answer.body.server_time);
      const left = (end) => (end === null ? Infinity : (Date.parse(end) - toldAt) / 1000);
      const active = answer.body.entitlements.filter((held) => held.active);
      const ends = new Map(active.map((held) => [held.entitlement, askedAt + left(held.expires_at)]));
      kept = { ends, etag: answer.headers.get("ETag"), freshUntil };
    }
    this.#kept.delete(userId);
    this.#kept.set(userId, kept);
    if (this.#kept.size > this.mostKept) this.#kept.delete(this.#kept.keys().next().value);
    return kept;
  }

  async #send(path, request) {
    if (clock() < this.#quietUntil) throw new Unavailable("Not asked: the pause after a failure is not over.");
    let answer, text;
    try {
      answer = await fetch(this.url + path, {
        ...request,
        headers: { ...request.headers, Authorization: `Api-Key ${this.key}` },
        cache: "no-store", // there is one cache, and it is here
        signal: AbortSignal.timeout(this.timeout * 1000),
      });
      text = await answer.text();
    } catch (error) {
      this.#quietUntil = clock() + 1; // or each caller would wait for a time-out of its own
      throw new Unavailable(error.message, { cause: error });
    }
    if (answer.status === 429 || answer.status >= 500) {
      this.#quietUntil = clock() + (Number(answer.headers.get("Retry-After")) || 1);
      throw new Unavailable(text);
    }
    if (!answer.ok && answer.status !== 304) throw Object.assign(new Error(text), { status: answer.status });
    return { status: answer.status, headers: answer.headers, body: answer.ok ? JSON.parse(text) : null };
  }
}
