// Takes over the log dirs of a stopped Apache Kafka, whose metadata the embedded store does not have yet (`odradek-server --adopt`):
// 3.9 with ZooKeeper (topics from the folders) or KRaft (topics from the metadata log).
// Inspects first and changes nothing; what does not fit is refused with its reason. Executing: recovers the logs as a start does, writes
// newer values of the internal topics again in older versions, writes meta.properties of version 0 (the former file stays beside it as
// meta.properties.kafka), and at the very end the store, whole or not at all: until then it can be repeated.
// Thread: one; blocks on the disks.
#pragma once

#include <functional>
#include <string>

#include "base/executor.h"
#include "base/result.h"
#include "config/config.h"

namespace odradek::adopt {

struct Options {
  bool execute = false;                 // false: only the report
  bool allow_open_transactions = false;  // their partitions then stay unreadable for read_committed beyond the transaction's begin
};

// Prints a line of the report.
using Print = std::function<void(const std::string&)>;

// True: it can be done, or was done. False: refused, the report says why. Errors: the disks; a log dir that is in use.
Result<bool> adopt(base::Runtime& runtime, const config::BrokerConfig& config, const Options& options, const Print& print);

// Whether the log dirs hold partitions of a cluster that the store does not know: a start would serve nothing of them.
// The text is for the operator; empty: no.
std::string unadopted(base::FileSystem& files, const config::BrokerConfig& config);

}  // namespace odradek::adopt
