import net.lag.kestrel.config._

object Helper { val port = 22133 }

new KestrelConfig {
  val home = new java.io.File(".").getAbsolutePath
  memcacheListenPort = Helper.port
  queuePath = home + "/spool"
  if (System.getenv("FAST") != null) {
    default.syncJournal = 1.second
  } else {
    default.syncJournal = 0.seconds
  }
  maxOpenTransactions = 7
  queues = (1 to 3).map { n => new QueueBuilder { name = "q" + n } }.toList
  default.maxItems = 0
  admin.httpPort = 2223
}
