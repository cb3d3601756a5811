// The metadata of a KRaft cluster as the nodes that a cluster with ZooKeeper keeps: configs, users, quotas, ACLs, tokens. Topics are made
// by plan.cc, which knows the folders. Pure.
#pragma once

#include <string>
#include <vector>

#include "adopt/metadata_log.h"
#include "config/config.h"
#include "metadata/tree/tree_copy.h"

namespace odradek::adopt {

// Adds the nodes; what has no place or no meaning in the tree is told in `left_out`, a line each.
void put_configs(const MetadataImage& image, const config::BrokerConfig& broker, metadata::TreeContent& tree, std::vector<std::string>& left_out);
void put_users_and_quotas(const MetadataImage& image, metadata::TreeContent& tree, std::vector<std::string>& left_out);
void put_acls(const MetadataImage& image, metadata::TreeContent& tree, std::vector<std::string>& left_out);
void put_tokens(const MetadataImage& image, metadata::TreeContent& tree);

}  // namespace odradek::adopt
