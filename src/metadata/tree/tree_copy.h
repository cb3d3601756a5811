// A whole metadata tree as data, to be copied between the embedded store's file, a JSON file and ZooKeeper.
// Left out: ephemeral nodes (who is alive) and notifications (numbered by the store that made them; a broker reads everything anew at
// its start). Kept: all else, byte for byte, Odradek's own nodes under /odradek too.
// Errors: kInvalidConfig: what is there does not allow it, the text says what to do; kStorageErrorCode and those of the store.
#pragma once

#include <map>
#include <string>

#include "base/bytes.h"
#include "base/file.h"
#include "base/function.h"
#include "base/result.h"
#include "metadata/tree/tree_client.h"

namespace odradek::metadata {

struct TreeNode {
  Bytes data;
  int32_t version = 0;
  friend bool operator==(const TreeNode&, const TreeNode&) = default;
};
// By path; without "/". Parents stand before their children.
using TreeContent = std::map<std::string, TreeNode>;

// Whether a node of this path is a notification.
bool is_notification(std::string_view path);
// Adds a node and, without data, its missing parents.
void put_node(TreeContent& tree, const std::string& path, Bytes data, int32_t version = 0);
// The id in /cluster/id. Error: there is none.
Result<std::string> cluster_id_of(const TreeContent& tree);

// {"format":"odradek-metadata","version":1,"nodes":{"/path":{"data":"text","version":0}}}; data that is not UTF-8: "data_base64".
std::string encode_tree(const TreeContent& tree);
Result<TreeContent> decode_tree(ByteView text);

// The embedded store's file while no broker has it open. Blocks on the disk. A file that is not there has no nodes.
Result<TreeContent> read_store_file(base::FileSystem& files, const std::string& path);
// Makes the file with exactly these nodes, whole or not at all; versions are kept. Error: there is a file that holds a cluster.
Result<void> write_store_file(base::FileSystem& files, const std::string& path, const TreeContent& tree, int64_t now_ms);

// The tree behind a store with an open session. Error: brokers are alive in it, whose changes would be missed.
void read_tree(TreeClient client, UniqueFunction<void(Result<TreeContent>)> done);
// Into a tree without a cluster (base paths may be there). Broken off, it can be repeated: /cluster/id comes last, and a tree without it
// serves no broker that belongs to a cluster. Every node is read back and compared. Versions begin anew but for that of /brokers/seqid,
// which counts generated broker ids.
void write_tree(TreeClient client, TreeContent tree, UniqueFunction<void(Result<void>)> done);

}  // namespace odradek::metadata
