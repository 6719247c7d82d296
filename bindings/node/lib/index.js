// The package `clerver`; index.d.ts says what everything is for.
'use strict'

const native = require('./native.js')
const { ClerverError, AbortError, table } = require('./errors.js')
const { Node } = require('./node.js')
const { Session } = require('./session.js')
const { Channel } = require('./channel.js')
const { Call } = require('./call.js')
const { CallContext } = require('./service.js')
const { ChannelDuplex } = require('./stream.js')

exports.Node = Node
exports.Session = Session
exports.Channel = Channel
exports.ChannelDuplex = ChannelDuplex
exports.Call = Call
exports.CallContext = CallContext
exports.ClerverError = ClerverError
exports.AbortError = AbortError
exports.codes = Object.freeze([...table.values()])
exports.options = Object.freeze(native.options().map((option) => Object.freeze(option)))
exports.version = native.version()
