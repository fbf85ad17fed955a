'use strict';

// Google is the provider unless the integration's environment names another. Zapier puts that
// environment in place at each call, over these.
process.env.OAUTH_AUTHORIZE_URL ??= 'https://accounts.google.com/o/oauth2/v2/auth';
process.env.OAUTH_TOKEN_URL ??= 'https://oauth2.googleapis.com/token';
process.env.OAUTH_USERINFO_URL ??= 'https://openidconnect.googleapis.com/v1/userinfo';
process.env.OAUTH_SCOPE ??= 'openid email';

const tokenRequest = (body) => ({
  method: 'POST',
  url: '{{process.env.OAUTH_TOKEN_URL}}',
  headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
  body: {
    client_id: '{{process.env.CLIENT_ID}}',
    client_secret: '{{process.env.CLIENT_SECRET}}',
    ...body,
  },
});

/// Whose token it is: what the provider says of its owner names the connection.
const test = async (z, bundle) => {
  const response = await z.request({
    url: process.env.OAUTH_USERINFO_URL,
    headers: { authorization: `Bearer ${bundle.authData.access_token}` },
  });
  return response.data;
};

module.exports = {
  type: 'oauth2',
  oauth2Config: {
    authorizeUrl: {
      method: 'GET',
      url: '{{process.env.OAUTH_AUTHORIZE_URL}}',
      params: {
        client_id: '{{process.env.CLIENT_ID}}',
        redirect_uri: '{{bundle.inputData.redirect_uri}}',
        response_type: 'code',
        scope: '{{process.env.OAUTH_SCOPE}}',
        state: '{{bundle.inputData.state}}',
        // Google gives a refresh token for the first, and again only for the second. Other providers
        // give one for the scope `offline_access`, which OpenID Connect also ties to the second.
        access_type: 'offline',
        prompt: 'consent',
      },
    },
    // Zapier adds the challenge to the address above and has the verifier here.
    enablePkce: true,
    getAccessToken: tokenRequest({
      grant_type: 'authorization_code',
      code: '{{bundle.inputData.code}}',
      redirect_uri: '{{bundle.inputData.redirect_uri}}',
      code_verifier: '{{bundle.inputData.code_verifier}}',
    }),
    refreshAccessToken: tokenRequest({
      grant_type: 'refresh_token',
      refresh_token: '{{bundle.authData.refresh_token}}',
    }),
    autoRefresh: true,
  },
  test,
  connectionLabel: '{{email}}',
};
