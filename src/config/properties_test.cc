#include "config/properties.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"

namespace odradek::config {
namespace {

Properties read(std::string_view text) {
  auto parsed = parse_properties(text);
  EXPECT_TRUE(parsed) << parsed.error().what;
  return parsed ? *parsed : Properties{};
}

TEST(PropertiesFile, PartsKeyAndValueAtEqualsColonOrSpace) {
  EXPECT_EQ(read("a=1\nb:2\nc 3\n d  =  4 \ne\n  f\t:5"),
            (Properties{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4 "}, {"e", ""}, {"f", "5"}}));
}

TEST(PropertiesFile, SkipsCommentsAndBlankLines) {
  EXPECT_EQ(read("# no\n  ! no=1\n\n \t\r\na=1#not a comment\r\nb=2\rc=3"), (Properties{{"a", "1#not a comment"}, {"b", "2"}, {"c", "3"}}));
}

TEST(PropertiesFile, JoinsContinuedLines) {
  EXPECT_EQ(read("listeners=A://:1,\\\n    B://:2,\\\r\n\tC://:3\nx=1\\\\\ny=2\\"), (Properties{{"listeners", "A://:1,B://:2,C://:3"}, {"x", "1\\"}, {"y", "2"}}));
}

TEST(PropertiesFile, ContinuesOverALineThatLooksLikeAComment) { EXPECT_EQ(read("a=1,\\\n#2\nb=3"), (Properties{{"a", "1,#2"}, {"b", "3"}})); }

TEST(PropertiesFile, UnderstandsEscapes) {
  EXPECT_EQ(read("a\\=b\\:c\\ d=\\t\\n\\q\\u0041\\u00e9\\ud83d\\ude00\nw=C:\\\\x"), (Properties{{"a=b:c d", "\t\nqAé😀"}, {"w", "C:\\x"}}));
}

TEST(PropertiesFile, ReadsBytesAsLatin1) { EXPECT_EQ(read("a=\xE9"), (Properties{{"a", "é"}})); }

TEST(PropertiesFile, KeepsTheLaterOfTwoEqualKeys) { EXPECT_EQ(read("a=1\na=2"), (Properties{{"a", "2"}})); }

TEST(PropertiesFile, CanBeUtf8) { EXPECT_EQ(parse_properties("a=\xC3\xA9\\u00e9", Encoding::kUtf8), (Properties{{"a", "éé"}})); }

class ConfigProviders : public testing::Test {
 protected:
  ConfigProviders() {
    folder_ = testing::TempDir() + "odradek-providers-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    write("secrets.properties", "dir=/x,/y\nname = é\n");
    write("rack", "r1\n");
    ::setenv("ODRADEK_TEST_DIR", "/from/env", 1);
  }
  ~ConfigProviders() override {
    (void)base::posix_files().remove_all(folder_);
    ::unsetenv("ODRADEK_TEST_DIR");
  }
  void write(const std::string& name, std::string_view text) {
    EXPECT_TRUE(base::write_file_atomically(base::posix_files(), folder_ + "/" + name, as_bytes(text)));
  }
  // The value of "key" among the settings of the three providers.
  Result<std::string> filled(const std::string& text, Properties more = {}) {
    const std::string package = "org.apache.kafka.common.config.provider.";
    Properties properties = {{"config.providers", "env, file,dir,java"},
                             {"config.providers.env.class", package + "EnvVarConfigProvider"},
                             {"config.providers.file.class", package + "FileConfigProvider"},
                             {"config.providers.dir.class", package + "DirectoryConfigProvider"},
                             {"config.providers.java.class", "com.example.Vault"},
                             {"key", text}};
    for (const auto& [name, value] : more) properties[name] = value;
    if (auto done = fill_in_variables(properties); !done) return fail(done.error());
    return properties["key"];
  }
  std::string folder_;
};

TEST_F(ConfigProviders, FillInWhatStandsElsewhere) {
  EXPECT_EQ(*filled("a ${env:ODRADEK_TEST_DIR} b"), "a /from/env b");
  EXPECT_EQ(*filled("${env:ODRADEK_TEST_DIR}${env:ODRADEK_TEST_DIR}"), "/from/env/from/env");
  EXPECT_EQ(*filled("${file:" + folder_ + "/secrets.properties:dir}"), "/x,/y");
  EXPECT_EQ(*filled("${file:" + folder_ + "/secrets.properties:name}"), "é");
  EXPECT_EQ(*filled("${dir:" + folder_ + ":rack}"), "r1\n");
}

TEST_F(ConfigProviders, LeaveAloneWhatTheyDoNotKnow) {
  for (std::string text : {"", "plain", "${", "${}", "$ {env:X}", "${env:ODRADEK_TEST_NONE}", "${none:x}", "${env}", "${env:ODRADEK_TEST_DIR"}) {
    EXPECT_EQ(*filled(text), text);
  }
  EXPECT_EQ(*filled("${dir:" + folder_ + ":nothing}"), "${dir:" + folder_ + ":nothing}");
  EXPECT_EQ(*filled("${file:" + folder_ + "/secrets.properties:nothing}"), "${file:" + folder_ + "/secrets.properties:nothing}");
  Properties without = {{"key", "${env:ODRADEK_TEST_DIR}"}};
  ASSERT_TRUE(fill_in_variables(without));
  EXPECT_EQ(without["key"], "${env:ODRADEK_TEST_DIR}");
}

TEST_F(ConfigProviders, KeepToWhatTheyAreAllowed) {
  const std::string variable = "${env:ODRADEK_TEST_DIR}", file = "${file:" + folder_ + "/secrets.properties:dir}";
  EXPECT_EQ(*filled(variable, {{"config.providers.env.param.allowlist.pattern", "OTHER_.*"}}), variable);
  EXPECT_EQ(*filled(variable, {{"config.providers.env.param.allowlist.pattern", "ODRADEK_.*"}}), "/from/env");
  EXPECT_EQ(*filled(file, {{"config.providers.file.param.allowed.paths", "/else," + folder_}}), "/x,/y");
  EXPECT_EQ(*filled(file, {{"config.providers.file.param.allowed.paths", "/else"}}), file);
}

TEST_F(ConfigProviders, RefuseWhatCannotBeFilledIn) {
  EXPECT_FALSE(filled("${java:x}"));
  EXPECT_FALSE(filled("${file:/none/there:x}"));
  EXPECT_FALSE(filled("${env:path:x}"));
}

TEST(PropertiesFile, NamesTheLineOfAMalformedEscape) {
  auto parsed = parse_properties("a=1\nb=\\u12g4\n");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().what, "line 2: a \\u escape needs four hexadecimal digits");
}

}  // namespace
}  // namespace odradek::config
