'use strict';

/// 202 with the message's id, once the signal is stored; the upstream gets it behind that. For a 401
/// the platform's own code throws, and Zapier refreshes the token and asks again.
const perform = async (z, bundle) => {
  const { name, variables } = bundle.inputData;
  const response = await z.request({
    method: 'POST',
    url: `${process.env.LOCKGATE_URL}/zapier/engine-rest/signal`,
    headers: { authorization: `Bearer ${bundle.authData.access_token}` },
    body: { name, variables: variables ?? {} },
  });
  return response.data;
};

module.exports = {
  key: 'signal',
  noun: 'Signal',
  display: {
    label: 'Send Signal',
    description: 'Sends a signal with variables to a process.',
  },
  operation: {
    inputFields: [
      { key: 'name', label: 'Name', type: 'string', required: true, helpText: 'What the process waits for.' },
      { key: 'variables', label: 'Variables', dict: true, helpText: 'Texts by name, for the process.' },
    ],
    perform,
    sample: { id: '0193-example' },
    outputFields: [{ key: 'id', label: 'Message ID', type: 'string' }],
  },
};
