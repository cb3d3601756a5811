// The words of the key tables: one function per fate, and the reasons that many rows share.
#pragma once

#include "config/config_key.h"

namespace odradek::config::rows {

constexpr ConfigKey works(std::string_view name, Type type, const char* default_value, std::string_view range, Importance importance,
                          Update update, std::string_view doc) {
  return {name, type, default_value, range, importance, update, Fate::kWorks, RefusedIf::kNever, doc, ""};
}
constexpr ConfigKey harmless(std::string_view name, Type type, const char* default_value, std::string_view range,
                             Importance importance, Update update, std::string_view doc, std::string_view note) {
  return {name, type, default_value, range, importance, update, Fate::kHarmless, RefusedIf::kNever, doc, note};
}
constexpr ConfigKey refused(std::string_view name, Type type, const char* default_value, std::string_view range,
                            Importance importance, Update update, RefusedIf refused_if, std::string_view doc, std::string_view note) {
  return {name, type, default_value, range, importance, update, Fate::kRefused, refused_if, doc, note};
}
constexpr ConfigKey internal(ConfigKey key) {
  key.internal = true;
  return key;
}
constexpr ConfigKey ours(ConfigKey key) {
  key.ours = true;
  return key;
}

inline constexpr std::string_view kNoteJavaPlugin =
    "Java classes cannot run here, and what it forbids would be allowed: remove this key.";
inline constexpr std::string_view kNoteMetrics =
    "Metrics are read from metrics.listener.";
inline constexpr std::string_view kNoteNoQuorum =
    "There is no metadata quorum here: metadata is kept by this node or in ZooKeeper.";
inline constexpr std::string_view kNoteNoQuorumListener =
    "There is no metadata quorum here; these listeners are not opened.";
inline constexpr std::string_view kNoteNoSasl =
    "SASL listeners are not served yet and stop the start, so nothing depends on this.";
inline constexpr std::string_view kNoteNoTls =
    "TLS listeners are not served yet and stop the start, so nothing depends on this.";
inline constexpr std::string_view kNoteNoQuotas =
    "Quotas of clients are not served yet and cannot be set.";
inline constexpr std::string_view kNoteNoTokens =
    "Delegation tokens need SASL, which is not served yet.";
inline constexpr std::string_view kNoteNoPurge =
    "A waiting request is removed when it finishes; there is nothing to sweep.";
inline constexpr std::string_view kNoteNoConsumerProtocol =
    "The consumer protocol of KIP-848 is not served, as in Kafka's ZooKeeper mode.";
inline constexpr std::string_view kNoteNoShareGroups =
    "Share groups are not served, as in Kafka's ZooKeeper mode.";
inline constexpr std::string_view kNoteNoRemote =
    "Remote storage is not served (remote.log.storage.system.enable is refused).";
inline constexpr std::string_view kNoteFormatV2 =
    "Records are stored in format v2, or as message.format.policy says.";
inline constexpr std::string_view kNotePasswords =
    "Passwords cannot be changed at run time yet, so none is stored.";
inline constexpr std::string_view kNoteNoTransactions =
    "Transactions are not served yet.";
inline constexpr std::string_view kNoteNoZooKeeperTls =
    "TLS towards ZooKeeper is not served (zookeeper.ssl.client.enable is refused).";
inline constexpr std::string_view kNoteOtherVoters =
    "A quorum of more than this node would be a cluster that this node is no member of: name this node alone, or remove this key.";
inline constexpr std::string_view kNoteRoles =
    "Only broker and controller in one node, with no other voter, can be replaced by this broker: set both roles, or remove this key.";

}  // namespace odradek::config::rows
