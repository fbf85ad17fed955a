// A stock Bolt app: the service a Slack team would put behind Lockgate.
//
// Environment: PORT (0: any), SLACK_SIGNING_SECRET, and SLACK_ENDPOINTS, the paths it answers,
// comma separated. It prints `{"ready": <port>}`, then one JSON line for each request it has
// verified and handled.

import bolt from '@slack/bolt';

const { App, HTTPReceiver } = bolt;

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const receiver = new HTTPReceiver({
  signingSecret: process.env.SLACK_SIGNING_SECRET,
  endpoints: process.env.SLACK_ENDPOINTS.split(','),
  // The request's headers, so that a test sees the message id at the handler.
  customPropertiesExtractor: (request) => ({ url: request.url, headers: request.headers }),
});

const app = new App({
  receiver,
  // Stands for the installation store: no call to Slack is made.
  authorize: async () => ({ botToken: 'xoxb-of-a-test', botId: 'B0001', botUserId: 'U0001' }),
  ignoreSelf: false,
});

const handled = (kind, value, { url, headers }) => print({ kind, value, url, headers });

app.command(/.*/, async ({ command, ack, context }) => {
  await ack();
  handled('command', command.text, context);
});
app.event(/.*/, async ({ event, context }) => {
  handled('event', event.text, context);
});
app.action(/.*/, async ({ action, ack, context }) => {
  await ack();
  handled('action', action.value, context);
});
app.shortcut(/.*/, async ({ shortcut, ack, context }) => {
  await ack();
  handled('shortcut', shortcut.callback_id, context);
});
app.view(/.*/, async ({ view, ack, context }) => {
  await ack({ response_action: 'errors', errors: { field: 'taken' } });
  handled('view', view.callback_id, context);
});
app.options(/.*/, async ({ options, ack, context }) => {
  await ack({ options: [{ text: { type: 'plain_text', text: options.value }, value: 'one' }] });
  handled('options', options.value, context);
});
app.error(async (error) => print({ error: error.message }));

const server = await app.start({ port: Number(process.env.PORT), host: '127.0.0.1' });
print({ ready: server.address().port });
