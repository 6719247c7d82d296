// The package `clerver` for `import`.
import clerver from './index.js'

export const {
  Node, Session, Channel, ChannelDuplex, Call, CallContext, ClerverError, AbortError, codes, options, version,
} = clerver
export default clerver
