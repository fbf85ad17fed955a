// Drives a Chromium that somebody else has started, by playwright-core.
//
// Argument: the DevTools URL (ws://…). One JSON object a line on standard input, `{"id": n, "do":
// command, …}`; one on standard output for each, `{"id": n, "value": …}` or `{"id": n, "error":
// text}`, in the order in which they are done. A context is a browser of its own: cookies, storage
// and cache are shared with no other. Selectors are Playwright's: CSS, or `text=Sign out`.

import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const PATIENCE = 20_000;

const browser = await chromium.connectOverCDP(process.argv[2]);
const contexts = new Map();
const tabs = new Map();
let last = 0;

const commands = {
  async context() {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE);
    contexts.set(++last, context);
    return last;
  },

  async close({ context }) {
    await contexts.get(context).close();
    contexts.delete(context);
  },

  async cookies({ context }) {
    return contexts.get(context).cookies();
  },

  async set_cookies({ context, cookies }) {
    await contexts.get(context).addCookies(cookies);
  },

  async tab({ context }) {
    const page = await contexts.get(context).newPage();
    const tab = { page, landing: null, navigations: [], errors: [] };
    page.on('response', (response) => {
      const request = response.request();
      if (!request.isNavigationRequest() || request.frame() !== page.mainFrame()) return;
      tab.navigations.push({ url: response.url(), status: response.status() });
      tab.landing = { url: response.url(), status: response.status() };
    });
    page.on('console', (message) => {
      if (message.type() === 'error') tab.errors.push(message.text());
    });
    page.on('pageerror', (error) => tab.errors.push(String(error)));
    tabs.set(++last, tab);
    return last;
  },

  // Where a navigation ended, with the status of that page; every navigation of the tab so far,
  // redirects included; what the console calls errors.
  landing: ({ tab }) => ({ ...tabs.get(tab).landing, url: tabs.get(tab).page.url() }),
  navigations: ({ tab }) => tabs.get(tab).navigations,
  errors: ({ tab }) => tabs.get(tab).errors,

  async goto({ tab, url }) {
    await tabs.get(tab).page.goto(url);
    return commands.landing({ tab });
  },

  async reload({ tab }) {
    await tabs.get(tab).page.reload();
    return commands.landing({ tab });
  },

  async back({ tab }) {
    await tabs.get(tab).page.goBack();
    return commands.landing({ tab });
  },

  async click({ tab, selector }) {
    await tabs.get(tab).page.click(selector);
  },

  // A click that leads to another page.
  async follow({ tab, selector }) {
    const { page } = tabs.get(tab);
    await Promise.all([page.waitForNavigation(), page.click(selector)]);
    return commands.landing({ tab });
  },

  async fill({ tab, selector, text }) {
    await tabs.get(tab).page.fill(selector, text);
  },

  async wait_for_url({ tab, start }) {
    await tabs.get(tab).page.waitForURL((url) => url.href.startsWith(start));
    return commands.landing({ tab });
  },

  title: ({ tab }) => tabs.get(tab).page.title(),
  text: ({ tab, selector }) => tabs.get(tab).page.innerText(selector),
  count: ({ tab, selector }) => tabs.get(tab).page.locator(selector).count(),
  html: ({ tab }) => tabs.get(tab).page.content(),
  evaluate: ({ tab, script }) => tabs.get(tab).page.evaluate(script),

  // What a script of the page gets from fetch(); `{error}` where that fails, as it does across
  // origins.
  fetch: ({ tab, url, options }) => tabs.get(tab).page.evaluate(async (order) => {
    try {
      const answer = await fetch(order.url, order.options);
      const { status, type, redirected, url: landed } = answer;
      return { status, type, redirected, url: landed, headers: [...answer.headers], text: await answer.text() };
    } catch (error) {
      return { error: String(error) };
    }
  }, { url, options }),

  async screenshot({ tab, path }) {
    await tabs.get(tab).page.screenshot({ path, fullPage: true });
  },
};

async function answer(order) {
  try {
    return { id: order.id, value: (await commands[order.do](order)) ?? null };
  } catch (error) {
    return { id: order.id, error: String(error) };
  }
}

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
print({ ready: browser.version() });
// Commands of different tests run at the same time.
for await (const line of createInterface({ input: process.stdin })) {
  answer(JSON.parse(line)).then(print);
}
process.exit(0);
