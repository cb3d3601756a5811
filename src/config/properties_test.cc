#include "config/properties.h"

#include <gtest/gtest.h>

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

TEST(PropertiesFile, NamesTheLineOfAMalformedEscape) {
  auto parsed = parse_properties("a=1\nb=\\u12g4\n");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().what, "line 2: a \\u escape needs four hexadecimal digits");
}

}  // namespace
}  // namespace odradek::config
