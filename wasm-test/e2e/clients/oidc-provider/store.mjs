// What the provider remembers. Its own memory forgets the oldest beyond a thousand entries, which
// a test under load would notice, and cannot list anything.

export class Store {
  #entries = new Map();

  get(key) {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.end > Date.now()) return entry?.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key, value, { maxAge = Infinity } = {}) {
    this.#entries.set(key, { value, end: Date.now() + maxAge });
  }

  delete(key) {
    this.#entries.delete(key);
  }

  /// Everything whose key begins with a prefix.
  values(prefix) {
    const found = [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
    return found.map((key) => this.get(key)).filter((value) => value !== undefined);
  }
}
