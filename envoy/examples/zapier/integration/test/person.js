'use strict';

// A person in front of a browser: keeps cookies, follows redirects, fills in the forms of
// `oidc-provider`'s own login and consent pages.

/// Opens a page, logs in and agrees, and returns the address that the provider sends the browser back
/// to, which is not followed.
async function signIn(address, account, redirectUri) {
  const cookies = new Map();
  const open = async (url, form) => {
    const response = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
      redirect: 'manual',
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    return response;
  };

  let url = new URL(address);
  let form;
  // More pages than a provider shows on the way.
  for (let page = 0; page < 12; page += 1) {
    const response = await open(url, form);
    const location = response.headers.get('location');
    if (location) {
      url = new URL(location, url);
      form = undefined;
      if (url.href.startsWith(redirectUri)) return url;
      continue;
    }
    const html = await response.text();
    const [, action] = html.match(/<form[^>]* action="([^"]+)"/) ?? [];
    const [, prompt] = html.match(/name="prompt" value="([^"]+)"/) ?? [];
    if (!action) throw new Error(`${response.status} and no form at ${url}: ${html}`);
    url = new URL(action, url);
    form = prompt === 'login' ? { prompt, login: account, password: 'any' } : { prompt };
  }
  throw new Error(`no end of pages at ${url}`);
}

module.exports = { signIn };
