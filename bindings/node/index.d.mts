export * from './index.js'
import * as clerver from './index.js'
export default clerver
