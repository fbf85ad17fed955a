'use strict';

const authentication = require('./authentication');
const signal = require('./creates/signal');

module.exports = {
  version: require('./package.json').version,
  platformVersion: require('zapier-platform-core').version,
  authentication,
  creates: { [signal.key]: signal },
};
