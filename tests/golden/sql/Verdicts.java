// What Java's rocketmq-filter says about expressions and properties: the table beside this file is its output. See README.md.

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.rocketmq.filter.SqlFilter;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;

final class Verdicts {
    private static final String[] NAMES = {"a", "b", "c", "$d_1", "TAGS", "missing"};
    private static final String[] VALUES = {
        "0", "1", "-1", "+7", "5", "05", "10", "2147483647", "2147483648", "-2147483648", "9223372036854775807", "9223372036854775808",
        "1.5", ".5", "5.", "1e3", "1E-3", "NaN", "-Infinity", "0x1.8p3", "1d", "2.5f", " 3 ", "3 ", "１２", "true", "TRUE", "false", "True", "yes", "abc", "ab", "b",
        "ABC", "a'c", "标签", "x", "null", "-0.0", "0.0", "1L", "1_0", "--1", "", "1e400", "-", "+", "e5", "0x10", "Infinityd"};
    private static final String[] NUMBERS = {"0", "1", "5", "7", "10", "5L", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
        "1.5", ".5", "5.", "1E3", "1e-3", "1.5E400", "0.0", "0L", "007", "4.9E-324", "1e-400"};
    private static final String[] TEXTS = {"'abc'", "'ab'", "'b'", "''", "'a''c'", "'标签'", "'1'", "'1.5'", "'true'", "'TRUE'", "'x'", "' '"};
    private static final String[] TOKENS = {"NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS", "CONTAINS", "STARTSWITH", "ENDSWITH",
        "=", "<>", ">", ">=", "<", "<=", "(", ")", ",", "+", "-", "a", "b", "1", "1.5", "'x'", "--", "-- c\n", "/* c */", "/*", "#", "'", "!=", ".", "1e", "é"};
    private final Random random;

    private Verdicts(long seed) {
        random = new Random(seed);
    }

    private String any(String... list) {
        return list[random.nextInt(list.length)];
    }

    private String word(String word) {
        return random.nextInt(4) == 0 ? word.toLowerCase() : word;
    }

    private String operand(int depth) {
        switch (random.nextInt(depth > 0 ? 12 : 9)) {
            case 0: case 1: case 2: case 3: return any(NAMES);
            case 4: case 5: return any(NUMBERS);
            case 6: return any(TEXTS);
            case 7: return "-" + any("", " ") + any(NUMBERS);
            case 8: return any("TRUE", "FALSE", "NULL", "+1", "-a", "- -3", "--5", "+a");
            case 9: return "(" + condition(depth - 1) + ")";
            case 10: return word("NOT ") + operand(depth - 1);
            default: return "(" + operand(depth - 1) + ")";
        }
    }

    private String condition(int depth) {
        String not = random.nextInt(3) == 0 ? word("NOT ") : "";
        switch (random.nextInt(depth > 0 ? 14 : 9)) {
            case 0: case 1: return operand(depth) + any(" ", "") + any("=", "<>") + any(" ", "") + operand(depth);
            case 2: case 3: return operand(depth) + " " + any("<", "<=", ">", ">=") + " " + any(any(NAMES), any(NUMBERS), operand(depth));
            case 4: return any(NAMES) + " " + not + word("BETWEEN ") + any(any(NUMBERS), operand(depth)) + word(" AND ") + any(any(NUMBERS), operand(depth));
            case 5: return any(any(NAMES), any(NAMES), operand(depth)) + " " + not + word("IN ") + "(" + list() + ")";
            case 6: return operand(depth) + word(" IS ") + not + word("NULL");
            case 7: return any(any(NAMES), operand(depth)) + " " + not + word(any("CONTAINS ", "STARTSWITH ", "ENDSWITH ")) + any(TEXTS);
            case 8: return any(any(NAMES), "TRUE", "FALSE", "NULL");
            case 9: case 10: return condition(depth - 1) + word(" AND ") + condition(depth - 1);
            case 11: case 12: return condition(depth - 1) + word(" OR ") + condition(depth - 1);
            default: return not + "(" + condition(depth - 1) + ")";
        }
    }

    private String list() {
        List<String> items = new ArrayList<>();
        for (int i = random.nextInt(7); i >= 0; i--) {
            items.add(any(TEXTS));
        }
        return String.join(any(",", ", "), items);
    }

    private String expression() {
        String text = condition(random.nextInt(4));
        if (random.nextInt(6) > 0) {
            return text;
        }
        // Something is inserted, cut out or left at the end.
        int at = random.nextInt(text.length() + 1);
        switch (random.nextInt(4)) {
            case 0: return text + " " + any(TOKENS) + any("", " " + any(TOKENS));
            case 1: return text.substring(0, at) + any(TOKENS) + text.substring(at);
            case 2: return text.substring(0, at) + " " + any(TOKENS) + " " + text.substring(at);
            default: return text.substring(0, at) + text.substring(Math.min(text.length(), at + 1 + random.nextInt(3)));
        }
    }

    private Map<String, String> properties() {
        Map<String, String> map = new TreeMap<>();
        for (String name : NAMES) {
            if (!name.equals("missing") && random.nextInt(4) > 0) {
                String value = any(VALUES);
                if (!value.isEmpty()) {
                    map.put(name, value);
                }
            }
        }
        return map;
    }

    private static String verdict(String text, Map<String, String> properties) {
        Expression expression;
        try {
            expression = new SqlFilter().compile(text);
        } catch (MQFilterException refused) {
            return "refused " + refused.getMessage();
        }
        try {
            return String.valueOf(expression.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return properties.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    return new TreeMap<>(properties);
                }
            }));
        } catch (Throwable failed) {
            return "error";
        }
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }

    private static void print(PrintStream out, String text, Map<String, String> properties) {
        List<String> pairs = new ArrayList<>();
        properties.forEach((key, value) -> pairs.add(quoted(key) + ":" + quoted(value)));
        out.println("[" + quoted(text) + ",{" + String.join(",", pairs) + "}," + quoted(verdict(text, properties)) + "]");
    }

    /** Arguments: a file with an expression per line, behind it properties as name=value, all separated by tabs; a seed; how many random cases. */
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] fields = line.split("\t");
            Map<String, String> properties = new TreeMap<>();
            for (int i = 1; i < fields.length; i++) {
                properties.put(fields[i].substring(0, fields[i].indexOf('=')), fields[i].substring(fields[i].indexOf('=') + 1));
            }
            if (!fields[0].isEmpty()) {
                print(out, fields[0].replace("\\n", "\n"), properties);
            }
        }
        Verdicts verdicts = new Verdicts(Long.parseLong(args[1]));
        for (int i = Integer.parseInt(args[2]); i > 0; i--) {
            String text = verdicts.expression();
            print(out, text, verdicts.properties());
            print(out, text, verdicts.properties());
        }
    }
}
